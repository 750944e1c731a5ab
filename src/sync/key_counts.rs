//! Owns a memory of how many keys devices have left, which each answer says and which hardly ever changes.
//!
//! A hint may come late, so that an answer may say an earlier count; the hint wakes the device, which then hears the right one.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#e2e-extensions-to-sync>

use std::{collections::BTreeMap, sync::Arc};

use hearth_store::{FRESH, Moment, View};
use hearth_users::Session;
use quick_cache::sync::Cache;
use ruma::{OneTimeKeyAlgorithm, OwnedDeviceId, OwnedUserId, UInt};
use tokio::time::Instant;

use crate::{Error, quiet::moved, service::Shared};

/// Of how many devices it is remembered.
const DEVICES: usize = 10_000;

/// The counts that were read lately.
pub(crate) struct KnownKeyCounts(Cache<(OwnedUserId, OwnedDeviceId), Arc<KeyCounts>>);

/// What a device has left.
pub(crate) struct KeyCounts {
    /// One-time keys by their algorithm.
    pub(crate) one_time: BTreeMap<OneTimeKeyAlgorithm, UInt>,
    /// The algorithms of fallback keys that nobody claimed yet.
    pub(crate) unused_fallback: Vec<OneTimeKeyAlgorithm>,
    /// Before it was read.
    moment: Moment,
    read_at: Instant,
}

impl Default for KnownKeyCounts {
    fn default() -> Self {
        Self(Cache::new(DEVICES))
    }
}

impl KnownKeyCounts {
    /// What the device of `session` has left.
    pub(crate) async fn read(
        &self,
        shared: &Shared,
        view: &View,
        session: &Session,
    ) -> Result<Arc<KeyCounts>, Error> {
        let (user, device) = (&session.user_id, &session.device_id);
        let key = (user.clone(), device.clone());
        let moved = moved(shared);
        if let Some(known) = self.0.get(&key)
            && known.read_at.elapsed() < FRESH
            && moved.is_still(known.moment, &[moved.name('u', user.as_str())])
        {
            return Ok(known);
        }
        let users = &shared.users;
        let counts = Arc::new(KeyCounts {
            one_time: users.device_one_time_keys_count(view, user, device).await?,
            unused_fallback: users.unused_fallback_types(view, user, device).await?,
            moment: view.moment(),
            read_at: Instant::now(),
        });
        self.0.insert(key, counts.clone());
        Ok(counts)
    }
}
