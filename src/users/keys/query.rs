//! Owns the answer to which keys users have. Must never show signatures of anybody but the owner and the asker, nor a
//! user-signing key to others.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3keysquery>

use std::collections::{BTreeMap, BTreeSet};

use hearth_store::{Direction, View};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedDeviceId, OwnedUserId, UserId,
    api::client::keys::get_keys::v3::Response,
    encryption::{CrossSigningKey, DeviceKeys},
    serde::Raw,
};

use super::{
    CROSS_SIGNING, DEVICE_KEYS, SIGNATURES,
    cross_signing::{MASTER, SELF_SIGNING, USER_SIGNING},
    verify::{parse, public_key},
};
use crate::{Error, Users};

/// How many devices of one user are shown at most.
const MAX_DEVICES: usize = 1_000;
/// How many signatures of one user on one key are shown at most.
const MAX_SIGNATURES: usize = 100;

impl Users {
    /// The keys of users of this server, as `asker` may see them. An empty list of devices means all of them. Users without
    /// keys have an empty map; users of other servers are left to the caller.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn query_keys(
        &self,
        view: &View,
        asker: &UserId,
        wanted: &BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Result<Response, Error> {
        let mut answer = Response::new();
        for (user, devices) in wanted {
            if user.server_name() != self.server_name {
                continue;
            }
            let keys = self.device_keys_of(view, asker, user, devices).await?;
            answer.device_keys.insert(user.clone(), keys);
            let keys = [MASTER, SELF_SIGNING]
                .into_iter()
                .chain((asker == user).then_some(USER_SIGNING));
            for usage in keys {
                let Some(key) = cross_signing_key(view, asker, user, usage).await? else {
                    continue;
                };
                let place = match usage {
                    MASTER => &mut answer.master_keys,
                    SELF_SIGNING => &mut answer.self_signing_keys,
                    _ => &mut answer.user_signing_keys,
                };
                place.insert(user.clone(), key);
            }
        }
        Ok(answer)
    }

    async fn device_keys_of(
        &self,
        view: &View,
        asker: &UserId,
        user: &UserId,
        wanted: &[OwnedDeviceId],
    ) -> Result<BTreeMap<OwnedDeviceId, Raw<DeviceKeys>>, Error> {
        let found = view
            .scan_prefix(
                &DEVICE_KEYS,
                (user.as_str(),),
                Direction::Forward,
                MAX_DEVICES,
            )
            .await?;
        if found.is_empty() {
            return Ok(BTreeMap::new());
        }
        let devices = self.devices(view, user).await?.into_iter();
        let names: BTreeMap<_, _> = devices
            .map(|device| (device.device_id, device.display_name))
            .collect();
        let wanted: BTreeSet<&str> = wanted.iter().map(|device| device.as_str()).collect();
        let mut shown = BTreeMap::new();
        for ((_, device), json) in found {
            let device = OwnedDeviceId::from(device);
            // Keys that were uploaded while their device was being deleted belong to nobody.
            let Some(name) = names.get(&device) else {
                continue;
            };
            if !wanted.is_empty() && !wanted.contains(device.as_str()) {
                continue;
            }
            let mut keys = stored(&json)?;
            merge_signatures(view, asker, user, device.as_str(), &mut keys).await?;
            let mut unsigned = CanonicalJsonObject::new();
            if let Some(name) = name {
                unsigned.insert("device_display_name".to_owned(), name.clone().into());
            }
            keys.insert("unsigned".to_owned(), unsigned.into());
            shown.insert(device, to_raw(&keys)?);
        }
        Ok(shown)
    }
}

async fn cross_signing_key(
    view: &View,
    asker: &UserId,
    user: &UserId,
    usage: &str,
) -> Result<Option<Raw<CrossSigningKey>>, Error> {
    let Some(json) = view
        .get_bytes(&CROSS_SIGNING, (user.as_str(), usage))
        .await?
    else {
        return Ok(None);
    };
    let mut key = stored(&json)?;
    if let Some(id) = public_key(&key).map(str::to_owned) {
        merge_signatures(view, asker, user, &id, &mut key).await?;
    }
    to_raw(&key).map(Some)
}

/// Adds the signatures that the owner and the asker made on a key after it was uploaded.
async fn merge_signatures(
    view: &View,
    asker: &UserId,
    owner: &UserId,
    id: &str,
    key: &mut CanonicalJsonObject,
) -> Result<(), Error> {
    for signer in BTreeSet::from([asker, owner]) {
        let place = (owner.as_str(), id, signer.as_str());
        let found = view
            .scan_prefix(&SIGNATURES, place, Direction::Forward, MAX_SIGNATURES)
            .await?;
        if found.is_empty() {
            continue;
        }
        let mut all = take_object(key, "signatures");
        let mut own = take_object(&mut all, signer.as_str());
        own.extend(
            found
                .into_iter()
                .map(|((_, _, _, id), signature)| (id, signature.into())),
        );
        all.insert(signer.to_string(), own.into());
        key.insert("signatures".to_owned(), all.into());
    }
    Ok(())
}

/// Takes the object out of a field; an empty one if there is none.
fn take_object(object: &mut CanonicalJsonObject, field: &str) -> CanonicalJsonObject {
    match object.remove(field) {
        Some(CanonicalJsonValue::Object(inner)) => inner,
        _ => CanonicalJsonObject::new(),
    }
}

/// A key that was checked when it came in.
pub(super) fn stored(json: &[u8]) -> Result<CanonicalJsonObject, Error> {
    std::str::from_utf8(json)
        .ok()
        .and_then(|json| parse(json).ok())
        .ok_or_else(|| hearth_store::Error::Corrupt("a stored key is not one".to_owned()).into())
}

fn to_raw<T>(key: &CanonicalJsonObject) -> Result<Raw<T>, Error> {
    let corrupt = |error: serde_json::Error| hearth_store::Error::Corrupt(error.to_string());
    Ok(Raw::from_json(
        serde_json::value::to_raw_value(key).map_err(corrupt)?,
    ))
}
