//! Owns the upload of device keys, one-time keys and fallback keys. Must never replace a one-time key by another of the
//! same id: somebody may be using it at this moment.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3keysupload>

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_store::{Batch, Direction, Json, SCAN_LIMIT, Topic, View};
use ruma::{
    CanonicalJsonObject, DeviceId, OneTimeKeyAlgorithm, OwnedOneTimeKeyId, UInt, UserId,
    api::client::keys::upload_keys::v3::Request,
    encryption::{DeviceKeys, OneTimeKey},
    serde::Raw,
};

use super::{
    DEVICE_KEYS, FALLBACK_KEYS, Fallback, MAX_ALGORITHMS, MAX_ONE_TIME_KEYS, ONE_TIME_COUNTS,
    ONE_TIME_IDS, ONE_TIME_KEYS, SIGNATURES,
    verify::{parse, text},
};
use crate::{Error, Refusal, Users};

type Keys = BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>;

impl Users {
    /// Plans an upload of the device's own keys. Answers whether its device keys changed, so that the rooms have to
    /// hear of it; [`Users::note_device_change`] is done.
    ///
    /// # Errors
    /// `InvalidParam` for the keys of another device, or a one-time key whose id has another key; `TooLarge`; what is wrong
    /// with the JSON.
    pub async fn plan_key_upload(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        request: &Request,
    ) -> Result<bool, Error> {
        let changed = match &request.device_keys {
            Some(keys) => {
                self.plan_device_keys(view, batch, user, device, keys)
                    .await?
            }
            None => false,
        };
        let left = view
            .scan_prefix(
                &ONE_TIME_COUNTS,
                (user.as_str(), device.as_str()),
                Direction::Forward,
                MAX_ALGORITHMS,
            )
            .await?;
        let left = left
            .into_iter()
            .map(|((_, _, algorithm), count)| (algorithm, count))
            .collect();
        plan_one_time_keys(view, batch, user, device, &request.one_time_keys, left).await?;
        plan_fallback_keys(view, batch, user, device, &request.fallback_keys).await?;
        if !request.one_time_keys.is_empty() || !request.fallback_keys.is_empty() {
            // How many there are may be remembered.
            batch.wake(Topic::new('u', user.as_str()));
        }
        Ok(changed)
    }

    async fn plan_device_keys(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &Raw<DeviceKeys>,
    ) -> Result<bool, Error> {
        let json = keys.json().get();
        let object = parse(json)?;
        keys.deserialize()
            .map_err(|error| Error::refused(Refusal::BadJson, error.to_string()))?;
        let names_device = text(&object, "user_id") == Some(user.as_str())
            && text(&object, "device_id") == Some(device.as_str());
        if !names_device {
            return Err(Error::refused(
                Refusal::InvalidParam,
                "these are the keys of another device",
            ));
        }
        let key = (user.as_str(), device.as_str());
        let seen = view.get_bytes(&DEVICE_KEYS, key).await?;
        if let Some(seen) = &seen
            && same(seen, &object)
        {
            return Ok(false);
        }
        batch.assert_unchanged(&DEVICE_KEYS, key, seen);
        batch.put(&DEVICE_KEYS, key, Bytes::copy_from_slice(json.as_bytes()));
        // They were made over other keys.
        let stale = view
            .scan_prefix(&SIGNATURES, key, Direction::Forward, SCAN_LIMIT)
            .await?;
        for (signature, _) in stale {
            batch.delete(&SIGNATURES, signature);
        }
        self.note_device_change(batch, user);
        Ok(true)
    }

    /// How many one-time keys the device has left, by algorithm; the usual algorithm is named even at zero.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn device_one_time_keys_count(
        &self,
        view: &View,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<BTreeMap<OneTimeKeyAlgorithm, UInt>, Error> {
        let found = view
            .scan_prefix(
                &ONE_TIME_COUNTS,
                (user.as_str(), device.as_str()),
                Direction::Forward,
                MAX_ALGORITHMS,
            )
            .await?;
        let mut counts =
            BTreeMap::from([(OneTimeKeyAlgorithm::SignedCurve25519, UInt::from(0_u8))]);
        for ((_, _, algorithm), count) in found {
            let count = UInt::try_from(count.max(0)).unwrap_or_default();
            counts.insert(OneTimeKeyAlgorithm::from(algorithm), count);
        }
        Ok(counts)
    }

    /// The algorithms for which the device has a fallback key that nobody claimed yet.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unused_fallback_types(
        &self,
        view: &View,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Vec<OneTimeKeyAlgorithm>, Error> {
        let found = view
            .scan_prefix(
                &FALLBACK_KEYS,
                (user.as_str(), device.as_str()),
                Direction::Forward,
                MAX_ALGORITHMS,
            )
            .await?;
        let unused = found.into_iter().filter(|(_, Json(key))| !key.used);
        Ok(unused
            .map(|((_, _, algorithm), _)| OneTimeKeyAlgorithm::from(algorithm))
            .collect())
    }
}

async fn plan_one_time_keys(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    keys: &Keys,
    mut left: BTreeMap<String, i64>,
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let (user, device) = (user.as_str(), device.as_str());
    let ids: Vec<_> = keys
        .keys()
        .map(|id| {
            (
                user,
                device,
                id.algorithm().to_string(),
                id.key_name().as_str(),
            )
        })
        .collect();
    let places = view.get_many(&ONE_TIME_IDS, ids.iter()).await?;
    let position = batch.position();
    for (((key, raw), id), place) in keys.iter().zip(&ids).zip(places) {
        let (_, _, algorithm, name) = id;
        let object = parse_key(raw)?;
        if let Some(place) = place {
            let stored = (user, device, algorithm, place, *name);
            let stored = view.get_bytes(&ONE_TIME_KEYS, stored).await?;
            if stored.is_some_and(|stored| same(&stored, &object)) {
                continue;
            }
            let reason = format!("there is another one-time key {key}");
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        let count = left.entry(algorithm.clone()).or_default();
        *count += 1;
        if usize::try_from(*count).is_ok_and(|count| count > MAX_ONE_TIME_KEYS) {
            return Err(Error::refused(
                Refusal::TooLarge,
                "the device has too many one-time keys",
            ));
        }
        batch.assert_absent(&ONE_TIME_IDS, id);
        batch.put(&ONE_TIME_IDS, id, position);
        let json = Bytes::copy_from_slice(raw.json().get().as_bytes());
        batch.put(
            &ONE_TIME_KEYS,
            (user, device, algorithm, position, *name),
            json,
        );
        batch.add(&ONE_TIME_COUNTS, (user, device, algorithm), 1);
    }
    if left.len() > MAX_ALGORITHMS {
        return Err(Error::refused(
            Refusal::TooLarge,
            "one-time keys of too many algorithms",
        ));
    }
    Ok(())
}

async fn plan_fallback_keys(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    keys: &Keys,
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let of_device = (user.as_str(), device.as_str());
    let found = view
        .scan_prefix(
            &FALLBACK_KEYS,
            of_device,
            Direction::Forward,
            MAX_ALGORITHMS,
        )
        .await?;
    let mut seen: BTreeMap<String, Option<Fallback>> = found
        .into_iter()
        .map(|((_, _, algorithm), Json(key))| (algorithm, Some(key)))
        .collect();
    for (id, raw) in keys {
        parse_key(raw)?;
        let algorithm = id.algorithm().to_string();
        let place = (user.as_str(), device.as_str(), algorithm.as_str());
        let before = seen.entry(algorithm.clone()).or_default();
        let unchanged = before
            .as_ref()
            .is_some_and(|before| before.id == id.as_str() && before.key.get() == raw.json().get());
        if unchanged {
            continue;
        }
        let key = Fallback {
            id: id.to_string(),
            key: raw.json().to_owned(),
            used: false,
        };
        batch.put(&FALLBACK_KEYS, place, Json(&key));
        *before = Some(key);
    }
    if seen.len() > MAX_ALGORITHMS {
        return Err(Error::refused(
            Refusal::TooLarge,
            "fallback keys of too many algorithms",
        ));
    }
    Ok(())
}

/// A one-time or fallback key is an object; for old algorithms it is a bare string, wrapped here for comparison.
fn parse_key(raw: &Raw<OneTimeKey>) -> Result<CanonicalJsonObject, Error> {
    let json = raw.json().get();
    if json.starts_with('"') {
        return parse(&format!("{{\"key\":{json}}}"));
    }
    parse(json)
}

/// Whether a stored key is this one, however its JSON is laid out.
fn same(stored: &[u8], key: &CanonicalJsonObject) -> bool {
    let Ok(stored) = std::str::from_utf8(stored) else {
        return false;
    };
    let stored = if stored.starts_with('"') {
        parse(&format!("{{\"key\":{stored}}}"))
    } else {
        parse(stored)
    };
    stored.is_ok_and(|stored| stored == *key)
}
