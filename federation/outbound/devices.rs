//! Owns telling other servers that the devices or keys of our users changed. It tells that something changed and not what:
//! each server then asks for the whole list, which is right whatever it missed.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#device-management>

use std::collections::BTreeMap;

use hearth_rooms::{DevicesToTell, Message, Rooms, WhyTell};
use hearth_store::{Batch, CommitError, View};
use ruma::OwnedServerName;
use serde_json::json;

use super::{Outbound, queue};
use crate::remote::edu;

/// Says that a list is told because its user came into a room, which its members heard of already.
pub(crate) const UNCHANGED: &str = "org.hearth.unchanged";

/// How many users are told of with one commit.
const TOGETHER: usize = 32;

impl Outbound {
    /// Tells of all changes that were not told.
    pub(super) async fn tell_devices(&self) -> Result<(), hearth_rooms::Error> {
        loop {
            let Some(lease) = self.distribution() else {
                return Ok(());
            };
            let view = self.0.store.view().await?;
            let changed = self.0.rooms.devices_to_tell(&view, TOGETHER).await?;
            if changed.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            lease.assert(&mut batch);
            let mut touched = Vec::<OwnedServerName>::new();
            for told in changed {
                Rooms::plan_devices_told(&mut batch, &told);
                if !self.0.rooms.is_local(&told.user) {
                    continue;
                }
                let Some(json) = self.change(&view, &told).await? else {
                    continue;
                };
                for server in self.0.rooms.servers_sharing(&view, &told.user).await? {
                    queue::plan_message(&mut batch, &server, json.get());
                    touched.push(server);
                }
            }
            match self.0.store.commit(batch).await {
                Ok(_) => self.announce(touched).await,
                // There was another change, or another node was faster.
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
    }

    async fn change(
        &self,
        view: &View,
        told: &DevicesToTell,
    ) -> Result<Option<Box<serde_json::value::RawValue>>, hearth_rooms::Error> {
        let (user, position) = (&told.user, told.position);
        let devices = self.0.users.devices(view, user).await.map_err(|error| {
            hearth_rooms::Error::Store(hearth_store::Error::Unavailable(error.to_string()))
        })?;
        let device = devices.last();
        let wanted = BTreeMap::from([(user.clone(), Vec::new())]);
        let keys = self
            .0
            .users
            .query_keys(view, user, &wanted)
            .await
            .map_err(|error| {
                hearth_rooms::Error::Store(hearth_store::Error::Unavailable(error.to_string()))
            })?;
        let of_devices = keys.device_keys.get(user);
        let has_keys =
            of_devices.is_some_and(|of| !of.is_empty()) || keys.master_keys.contains_key(user);
        if told.reason == WhyTell::FoundThere && !has_keys {
            return Ok(None);
        }
        let mut content = json!({
            "user_id": user,
            "device_id": device.map_or("", |device| device.device_id.as_str()),
            "stream_id": position.0,
            // One that nobody has seen: whoever keeps lists asks for the whole.
            "prev_id": [position.0.saturating_sub(1)],
        });
        if told.reason == WhyTell::CameIn {
            content[UNCHANGED] = true.into();
        }
        match device {
            None => content["deleted"] = true.into(),
            Some(device) => {
                if let Some(name) = &device.display_name {
                    content["device_display_name"] = name.as_str().into();
                }
                let keys = keys
                    .device_keys
                    .get(user)
                    .and_then(|of| of.get(&device.device_id));
                if let Some(keys) = keys.and_then(|keys| serde_json::to_value(keys).ok()) {
                    content["keys"] = keys;
                }
            }
        }
        let kind = "m.device_list_update";
        Ok(edu(&Message { kind, content }))
    }
}
