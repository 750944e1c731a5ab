//! Owns a memory of the keys that other servers told of their users. Must never be believed but for a user of whose changes
//! this server hears, and while there were none.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#device-management>

use std::{collections::BTreeMap, time::Duration};

use hearth_rooms::Tracked;
use quick_cache::{Weighter, sync::Cache};
use ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    api::federation::keys::get_keys::v1::Response,
    encryption::{CrossSigningKey, DeviceKeys},
    serde::Raw,
};
use tokio::time::Instant;

/// How many bytes of keys are kept.
const MAX_BYTES: u64 = 16 << 20;

/// For how many users the memory is made.
const USERS: usize = 4_096;

/// How long keys are believed: servers lose messages too.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The keys of users of other servers.
pub(crate) struct KnownKeys(Cache<OwnedUserId, Known, ByBytes>);

/// All keys of a user.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) devices: BTreeMap<OwnedDeviceId, Raw<DeviceKeys>>,
    pub(super) master: Option<Raw<CrossSigningKey>>,
    pub(super) self_signing: Option<Raw<CrossSigningKey>>,
}

#[derive(Clone)]
struct Known {
    tracked: Tracked,
    since: Instant,
    keys: Keys,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<OwnedUserId, Known> for ByBytes {
    fn weight(&self, user: &OwnedUserId, known: &Known) -> u64 {
        let keys = &known.keys;
        let devices = keys.devices.values().map(|keys| keys.json().get().len());
        let signing = [&keys.master, &keys.self_signing].into_iter().flatten();
        let bytes: usize = devices
            .chain(signing.map(|key| key.json().get().len()))
            .sum();
        u64::try_from(bytes + user.as_str().len() + 256).unwrap_or(u64::MAX)
    }
}

impl Default for KnownKeys {
    fn default() -> Self {
        Self(Cache::with_weighter(USERS, MAX_BYTES, ByBytes))
    }
}

impl KnownKeys {
    /// The keys of a user, if they are known and were told in the time `tracked`.
    pub(super) fn get(&self, user: &UserId, tracked: Tracked) -> Option<Keys> {
        let known = self.0.get(user)?;
        (known.tracked == tracked && known.since.elapsed() < LIFETIME).then_some(known.keys)
    }

    /// Remembers keys that were asked for in the time `tracked`.
    pub(super) fn note(&self, user: OwnedUserId, tracked: Tracked, keys: Keys) {
        let known = Known {
            tracked,
            since: Instant::now(),
            keys,
        };
        self.0.insert(user, known);
    }
}

/// Takes the keys of a user out of an answer.
pub(super) fn keys_of(answer: &Response, user: &UserId) -> Keys {
    Keys {
        devices: answer.device_keys.get(user).cloned().unwrap_or_default(),
        master: answer.master_keys.get(user).cloned(),
        self_signing: answer.self_signing_keys.get(user).cloned(),
    }
}

/// Puts the keys of a user into an answer: of these devices, or of all if none is named.
pub(super) fn add_keys(
    answer: &mut Response,
    user: OwnedUserId,
    mut keys: Keys,
    wanted: &[OwnedDeviceId],
) {
    if !wanted.is_empty() {
        keys.devices.retain(|device, _| wanted.contains(device));
    }
    if let Some(key) = keys.master {
        answer.master_keys.insert(user.clone(), key);
    }
    if let Some(key) = keys.self_signing {
        answer.self_signing_keys.insert(user.clone(), key);
    }
    answer.device_keys.insert(user, keys.devices);
}
