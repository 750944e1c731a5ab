//! Owns the list of a user's devices. Must never leave anything of a device behind when it is deleted: tokens, keys,
//! waiting messages, pushers.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#device-management>

use hearth_base::Millis;
use hearth_store::{Batch, Direction, Family, Json, Table, Topic, View};
use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::{Deserialize, Serialize};

use crate::{Error, Refusal, Users, pusher, service::ATTEMPTS, session};

/// (user, device) to the device.
const DEVICES: Table<(String, String), Json<Record>> = Table::new(17, "devices", Family::Index);

/// (user, device) to when it last asked for anything, in milliseconds. Rounded: see `authentication.rs`.
pub(crate) const LAST_SEEN: Table<(String, String), u64> =
    Table::new(20, "device_last_seen", Family::Records);

const MAX_NAME_CHARS: usize = 255;

/// A device as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    created: Millis,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Unique among the user's devices.
    pub device_id: OwnedDeviceId,
    /// For people.
    pub display_name: Option<String>,
    /// When it last asked for anything, to within ten minutes.
    pub last_seen: Millis,
}

impl Users {
    /// One device.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn device(
        &self,
        view: &View,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Option<Device>, Error> {
        let key = (user.as_str(), device.as_str());
        let Some(Json(record)) = view.get(&DEVICES, key).await? else {
            return Ok(None);
        };
        let seen = view.get(&LAST_SEEN, key).await?;
        Ok(Some(shown(device.to_owned(), record, seen)))
    }

    /// All devices, in the order of their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn devices(&self, view: &View, user: &UserId) -> Result<Vec<Device>, Error> {
        let of_user = (user.as_str(),);
        let limit = self.limits.devices;
        let found = view
            .scan_prefix(&DEVICES, of_user, Direction::Forward, limit)
            .await?;
        let keys = found.iter().map(|(key, _)| (&*key.0, &*key.1));
        let seen = view.get_many(&LAST_SEEN, keys).await?;
        let devices = found.into_iter().zip(seen);
        Ok(devices
            .map(|(((_, id), Json(record)), seen)| shown(id.into(), record, seen))
            .collect())
    }

    /// Gives a device another name; `None` takes its name away. Other users who see the device hear of it through the
    /// caller, as after every change of a device.
    ///
    /// # Errors
    /// `NotFound`, `TooLarge`.
    pub async fn plan_device_name(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        name: Option<&str>,
    ) -> Result<(), Error> {
        check_name(name)?;
        let key = (user.as_str(), device.as_str());
        let Some(old) = view.get_seen(&DEVICES, key).await? else {
            return Err(Error::not_found("there is no such device"));
        };
        let new = Record {
            name: name.map(str::to_owned),
            ..old.clone()
        };
        batch.replace(&DEVICES, key, &old, &new);
        Ok(())
    }

    /// Deletes a device and everything of it; nothing if there is no such device.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn plan_device_deletion(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), Error> {
        let key = (user.as_str(), device.as_str());
        let Some(record) = view.get_seen(&DEVICES, key).await? else {
            return Ok(());
        };
        batch.assert_seen(&DEVICES, key, &record);
        batch.delete(&DEVICES, key);
        batch.delete(&LAST_SEEN, key);
        session::plan_revocation(view, batch, user, device).await?;
        pusher::plan_removal(view, batch, user, Some(device)).await?;
        self.plan_device_removal(view, batch, user, device).await?;
        batch.wake(Topic::new('u', user.as_str()));
        Ok(())
    }

    /// Deletes devices where no room need hear of it: for tests and for the command line before the server runs.
    ///
    /// # Errors
    /// Those of the store, `Busy`.
    pub async fn delete_devices(
        &self,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let mut batch = Batch::new();
            for device in devices {
                self.plan_device_deletion(&view, &mut batch, user, device)
                    .await?;
            }
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }
}

/// Notes a device that logs in; one that is known keeps its name.
pub(crate) async fn plan_arrival(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    name: Option<&str>,
    now: Millis,
    limit: usize,
) -> Result<(), Error> {
    check_name(name)?;
    let key = (user.as_str(), device.as_str());
    batch.put(&LAST_SEEN, key, now.0);
    // Two logins as the same device at the same time are one after the other.
    if let Some(known) = view.get_seen(&DEVICES, key).await? {
        batch.assert_seen(&DEVICES, key, &known);
        return Ok(());
    }
    batch.assert_absent(&DEVICES, key);
    let others = view
        .scan_prefix(&DEVICES, (user.as_str(),), Direction::Forward, limit)
        .await?;
    if others.len() >= limit {
        return Err(Error::forbidden("the user has too many devices"));
    }
    let record = Record {
        name: name.map(str::to_owned),
        created: now,
    };
    batch.put(&DEVICES, key, Json(record));
    batch.wake(Topic::new('u', user.as_str()));
    Ok(())
}

fn check_name(name: Option<&str>) -> Result<(), Error> {
    if name.is_some_and(|name| name.chars().count() > MAX_NAME_CHARS) {
        let reason = "the name of the device is too long";
        return Err(Error::refused(Refusal::TooLarge, reason));
    }
    Ok(())
}

fn shown(device_id: OwnedDeviceId, record: Record, seen: Option<u64>) -> Device {
    Device {
        device_id,
        display_name: record.name,
        last_seen: seen.map_or(record.created, Millis),
    }
}
