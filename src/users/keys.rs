//! Owns what a user's devices publish for end-to-end encryption: device keys, one-time and fallback keys, cross-signing
//! keys, signatures, and the record of whose keys changed. Must never hand out a one-time key twice, nor show a
//! user-signing key, or a signature made with one, to anybody but its owner.
//!
//! JSON is kept as it was uploaded. Functions named `plan_…` fill a [`Batch`] from a [`View`]; whoever commits it adds
//! what other crates have to record of the same change, and plans again after a conflict.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#key-management-api>

use bytes::Bytes;
use hearth_store::{Batch, Direction, Family, Json, Position, Table, Topic, View};
use ruma::{DeviceId, UserId};
use serde::{Deserialize, Serialize};

use crate::{Error, Users};

mod changes;
mod claim;
mod cross_signing;
mod query;
mod signatures;
mod upload;
mod verify;

pub use claim::{ClaimedKeys, WantedKeys};
pub use signatures::{SignatureFault, SignatureOutcome};

/// How many bytes of JSON one key may have.
const MAX_KEY_BYTES: usize = 65_536;
/// How many one-time keys of one algorithm a device may leave here; clients keep fifty to a hundred.
const MAX_ONE_TIME_KEYS: usize = 1_000;
/// How many algorithms a device may leave one-time or fallback keys for.
const MAX_ALGORITHMS: usize = 16;

/// (user, device) to the device keys.
const DEVICE_KEYS: Table<(String, String), Bytes> = Table::new(48, "device_keys", Family::Records);
/// (user, device, algorithm, uploaded at, key id without algorithm) to the key: claimed from the front.
const ONE_TIME_KEYS: Table<(String, String, String, Position, String), Bytes> =
    Table::new(49, "one_time_keys", Family::Index);
/// (user, device, algorithm, key id without algorithm) to where the key stands in [`ONE_TIME_KEYS`].
const ONE_TIME_IDS: Table<(String, String, String, String), Position> =
    Table::new(50, "one_time_ids", Family::Index);
/// (user, device, algorithm) to how many one-time keys are left. Exact, since every removal is asserted.
const ONE_TIME_COUNTS: Table<(String, String, String), i64> =
    Table::new(51, "one_time_counts", Family::Records);
/// (user, device, algorithm) to the fallback key.
const FALLBACK_KEYS: Table<(String, String, String), Json<Fallback>> =
    Table::new(52, "fallback_keys", Family::Records);
/// (user, usage) to the cross-signing key.
const CROSS_SIGNING: Table<(String, String), Bytes> =
    Table::new(53, "cross_signing_keys", Family::Records);
/// (user, device id or public key, signer, key id of the signer) to a signature that was added later.
const SIGNATURES: Table<(String, String, String, String), String> =
    Table::new(54, "key_signatures", Family::Index);
/// (user, another) to when the keys of the other last began to look different to the user, without a room that says so.
/// Under an empty name: the newest of those. Only the last change of each is kept, so it needs no trimming.
const OWN_CHANGES: Table<(String, String), Position> =
    Table::new(55, "own_key_changes", Family::Index);

/// A fallback key as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fallback {
    /// With its algorithm.
    id: String,
    /// The key as uploaded.
    key: Box<serde_json::value::RawValue>,
    /// Whether it was claimed since it was uploaded.
    used: bool,
}

impl Users {
    /// Records in `batch` that the devices or keys of `user` changed, for their own other devices. Whoever commits also
    /// tells the rooms that they have joined. Called for every device that is made, renamed or deleted.
    pub fn note_device_change(&self, batch: &mut Batch, user: &UserId) {
        note_change_for(batch, user, user);
    }

    /// Removes from `batch`'s world everything that belongs to one device: its keys, its signatures, and the messages that
    /// wait for it. Includes [`Users::note_device_change`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn plan_device_removal(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), Error> {
        let (user_id, device_id) = (user.as_str(), device.as_str());
        let of_device = (user_id, device_id);
        batch.delete(&DEVICE_KEYS, of_device);
        let limit = MAX_ALGORITHMS * MAX_ONE_TIME_KEYS;
        let forward = Direction::Forward;
        for (key, _) in view
            .scan_prefix(&ONE_TIME_KEYS, of_device, forward, limit)
            .await?
        {
            batch.delete(&ONE_TIME_KEYS, key);
        }
        for (key, _) in view
            .scan_prefix(&ONE_TIME_IDS, of_device, forward, limit)
            .await?
        {
            batch.delete(&ONE_TIME_IDS, key);
        }
        for (key, _) in view
            .scan_prefix(&ONE_TIME_COUNTS, of_device, forward, MAX_ALGORITHMS)
            .await?
        {
            batch.delete(&ONE_TIME_COUNTS, key);
        }
        for (key, _) in view
            .scan_prefix(&FALLBACK_KEYS, of_device, forward, MAX_ALGORITHMS)
            .await?
        {
            batch.delete(&FALLBACK_KEYS, key);
        }
        for (key, _) in view
            .scan_prefix(&SIGNATURES, of_device, forward, limit)
            .await?
        {
            batch.delete(&SIGNATURES, key);
        }
        self.plan_queue_removal(view, batch, user, device).await?;
        self.note_device_change(batch, user);
        Ok(())
    }
}

/// Records that the keys of `changed` look different to `user` from here on, and wakes `user`.
fn note_change_for(batch: &mut Batch, user: &UserId, changed: &UserId) {
    let position = batch.position();
    for name in [changed.as_str(), ""] {
        batch.put(&OWN_CHANGES, (user.as_str(), name), position);
    }
    batch.wake(Topic::new('u', user.as_str()));
}

#[cfg(test)]
pub(crate) mod tests;
