//! Owns where a user wants to be notified. Must never notify: it only keeps the addresses.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receiving-notifications>

use hearth_store::{Batch, Direction, Family, Json, Table, View};
use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Refusal, Session, Users, service::ATTEMPTS};

/// (user, app id, push key) to the pusher.
const PUSHERS: Table<(String, String, String), Json<PusherRecord>> =
    Table::new(26, "pushers", Family::Index);

/// (app id, push key, user): who is notified there.
const ADDRESSES: Table<(String, String, String), ()> =
    Table::new(27, "pusher_addresses", Family::Index);

/// Pushers of one user, and users of one address.
const MOST: usize = 500;
/// Bytes of an app id and of a push key, by the specification.
const MAX_APP_ID_BYTES: usize = 64;
const MAX_PUSH_KEY_BYTES: usize = 512;

/// An address to notify.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PusherRecord {
    /// The device that asked for it, with which it goes.
    pub device: OwnedDeviceId,
    /// As the client described it.
    pub pusher: Box<RawValue>,
}

impl Users {
    /// The pushers of a user.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn pushers(&self, view: &View, user: &UserId) -> Result<Vec<PusherRecord>, Error> {
        let found = view
            .scan_prefix(&PUSHERS, (user.as_str(),), Direction::Forward, MOST)
            .await?;
        Ok(found.into_iter().map(|(_, Json(record))| record).collect())
    }

    /// Adds a pusher or changes the one of that app id and push key. Unless `append`, it is taken from other users.
    ///
    /// # Errors
    /// `InvalidParam` if the app id or push key is too long, `TooLarge`, `Busy`.
    pub async fn set_pusher(
        &self,
        session: &Session,
        app_id: &str,
        push_key: &str,
        pusher: &RawValue,
        append: bool,
    ) -> Result<(), Error> {
        if app_id.len() > MAX_APP_ID_BYTES || push_key.len() > MAX_PUSH_KEY_BYTES {
            let reason = "the app id or the push key is too long";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        if pusher.get().len() > hearth_protocol::MAX_EVENT_BYTES {
            return Err(Error::refused(Refusal::TooLarge, "the pusher is too large"));
        }
        let user = session.user_id.as_str();
        let record = PusherRecord {
            device: session.device_id.clone(),
            pusher: pusher.to_owned(),
        };
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let mut batch = Batch::new();
            let own = self.pushers(&view, &session.user_id).await?;
            if own.len() >= MOST {
                return Err(Error::refused(Refusal::TooLarge, "too many pushers"));
            }
            if !append {
                let place = (app_id, push_key);
                let others = view
                    .scan_prefix(&ADDRESSES, place, Direction::Forward, MOST)
                    .await?;
                for ((_, _, other), ()) in others {
                    if other != user {
                        plan_deletion(&mut batch, &other, app_id, push_key);
                    }
                }
            }
            batch.put(&PUSHERS, (user, app_id, push_key), Json(&record));
            batch.put(&ADDRESSES, (app_id, push_key, user), ());
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a pusher; nothing if there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_pusher(
        &self,
        user: &UserId,
        app_id: &str,
        push_key: &str,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        plan_deletion(&mut batch, user.as_str(), app_id, push_key);
        self.try_commit(batch).await?;
        Ok(())
    }
}

fn plan_deletion(batch: &mut Batch, user: &str, app_id: &str, push_key: &str) {
    batch.delete(&PUSHERS, (user, app_id, push_key));
    batch.delete(&ADDRESSES, (app_id, push_key, user));
}

/// Deletes the pushers of a device, or of a whole user.
pub(crate) async fn plan_removal(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: Option<&DeviceId>,
) -> Result<(), Error> {
    let found = view
        .scan_prefix(&PUSHERS, (user.as_str(),), Direction::Forward, MOST)
        .await?;
    for ((_, app_id, push_key), Json(record)) in found {
        if device.is_none_or(|device| record.device == device) {
            plan_deletion(batch, user.as_str(), &app_id, &push_key);
        }
    }
    Ok(())
}
