//! Owns the claim of one-time keys. Must never hand out a key twice: each is removed under the assertion that it is
//! still there, so that of two claims one plans again.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3keysclaim>

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hearth_store::{Batch, Direction, Topic};
use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId, UserId,
    encryption::OneTimeKey, serde::Raw,
};
use serde_json::value::RawValue;

use super::{FALLBACK_KEYS, Fallback, ONE_TIME_COUNTS, ONE_TIME_IDS, ONE_TIME_KEYS};
use crate::{Error, Users};

/// How often one claim is planned. Each round in which it loses, another claim got a key, and it chooses at random.
const ATTEMPTS: usize = 64;
/// How many of the oldest keys a claim chooses from: more make a conflict rarer.
const CHOICE: usize = 64;
/// How many devices of one request are claimed from at the same time, so that they share a sync of the disk.
const PARALLEL: usize = 32;

/// For each user and device the algorithm that is wanted.
pub type WantedKeys = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>;
/// For each user and device the key that was claimed.
pub type ClaimedKeys =
    BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>>>;

impl Users {
    /// Claims a key of each wanted device of this server: a one-time key that nobody ever got, else the fallback key. Devices
    /// without either are left out.
    ///
    /// # Errors
    /// `Busy` when others were faster each time; those of the store.
    pub async fn claim_keys(&self, wanted: &WantedKeys) -> Result<ClaimedKeys, Error> {
        let each = wanted.iter().flat_map(|(user, devices)| {
            devices
                .iter()
                .map(move |(device, algorithm)| (user, device, algorithm))
        });
        let claims = each.map(|(user, device, algorithm)| async move {
            let key = self.claim_key(user, device, algorithm).await?;
            Ok::<_, Error>((user, device, key))
        });
        let claims: Vec<_> = claims.collect();
        let got: Vec<_> = stream::iter(claims)
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        let mut claimed = ClaimedKeys::new();
        for (user, device, key) in got {
            let Some((id, key)) = key else { continue };
            let devices = claimed.entry(user.clone()).or_default();
            devices.entry(device.clone()).or_default().insert(id, key);
        }
        Ok(claimed)
    }

    async fn claim_key(
        &self,
        user: &UserId,
        device: &DeviceId,
        algorithm: &OneTimeKeyAlgorithm,
    ) -> Result<Option<(OwnedOneTimeKeyId, Raw<OneTimeKey>)>, Error> {
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            let planned = self
                .plan_claim(&mut batch, user, device, algorithm.as_ref())
                .await?;
            let Some((id, json)) = planned else {
                return Ok(None);
            };
            // A fallback key that was used before is given out again, and nothing changes.
            if batch.is_empty() {
                return Ok(Some((identifier(&id)?, raw(json)?)));
            }
            // Its owner is told how many are left with the next answer.
            batch.wake(Topic::new('u', user.as_str()));
            if self.try_commit(batch).await?.is_some() {
                return Ok(Some((identifier(&id)?, raw(json)?)));
            }
        }
        Err(Error::Busy)
    }

    async fn plan_claim(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        algorithm: &str,
    ) -> Result<Option<(String, Bytes)>, Error> {
        let view = self.store.view().await?;
        let place = (user.as_str(), device.as_str(), algorithm);
        let mut oldest = view
            .scan_prefix(&ONE_TIME_KEYS, place, Direction::Forward, CHOICE)
            .await?;
        // Keys of one upload are equivalent; an earlier upload goes first.
        if let Some(((_, _, _, first, _), _)) = oldest.first() {
            let first = *first;
            oldest.retain(|((_, _, _, position, _), _)| *position == first);
        }
        if !oldest.is_empty() {
            let chosen = self.rng.number() % oldest.len() as u64;
            let (key, json) = oldest.swap_remove(usize::try_from(chosen).unwrap_or_default());
            batch.assert_equals(&ONE_TIME_KEYS, &key, &json);
            batch.delete(&ONE_TIME_KEYS, &key);
            batch.delete(&ONE_TIME_IDS, (&key.0, &key.1, &key.2, &key.4));
            batch.add(&ONE_TIME_COUNTS, place, -1);
            return Ok(Some((format!("{algorithm}:{}", key.4), json)));
        }
        let Some(fallback) = view.get_seen(&FALLBACK_KEYS, place).await? else {
            return Ok(None);
        };
        if !fallback.used {
            let used = Fallback {
                used: true,
                ..fallback.clone()
            };
            batch.replace(&FALLBACK_KEYS, place, &fallback, &used);
        }
        let json = Bytes::copy_from_slice(fallback.key.get().as_bytes());
        Ok(Some((fallback.into_record().id, json)))
    }
}

fn identifier(id: &str) -> Result<OwnedOneTimeKeyId, Error> {
    id.try_into().map_err(|_| corrupt())
}

fn raw(json: Bytes) -> Result<Raw<OneTimeKey>, Error> {
    let text = String::from_utf8(json.into()).map_err(|_| corrupt())?;
    RawValue::from_string(text)
        .map(Raw::from_json)
        .map_err(|_| corrupt())
}

fn corrupt() -> Error {
    hearth_store::Error::Corrupt("a stored key is not one".to_owned()).into()
}
