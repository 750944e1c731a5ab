//! The list of a user's devices.
//!
//! Owns the change of devices as a whole: in `users`, and in the rooms whose members hear of it.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#device-management>

use hearth_store::{Batch, CommitError, View};
use hearth_users::Device;
use ruma::{OwnedDeviceId, UserId};
use serde::Serialize;

use crate::{App, error::Error, keys, routes::Routes};

mod delete_device;
mod delete_devices;
mod get_device;
mod get_devices;
mod update_device;

/// How often a change of devices is planned again when others were faster.
pub(crate) const ATTEMPTS: usize = 16;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(delete_device::delete_device)
        .user(delete_devices::delete_devices)
        .user(get_device::get_device)
        .user(get_devices::get_devices)
        .user(update_device::update_device)
}

/// Deletes devices of a user; those that do not exist are none.
///
/// # Errors
/// Those of the store; unavailable when others are faster each time.
pub(crate) async fn delete(
    app: &App,
    user: &UserId,
    devices: &[OwnedDeviceId],
) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        for device in devices {
            app.users
                .plan_device_deletion(&view, &mut batch, user, device)
                .await?;
        }
        if batch.is_empty() || commit(app, &view, batch, user).await? {
            return Ok(());
        }
    }
    Err(busy())
}

/// Commits a change of devices and tells everybody who shares a room; `false` after a conflict, upon which the caller
/// plans again.
///
/// # Errors
/// Those of the store.
pub(crate) async fn commit(
    app: &App,
    view: &View,
    mut batch: Batch,
    user: &UserId,
) -> Result<bool, Error> {
    keys::signal_rooms(app, view, &mut batch, user).await?;
    match app.store.commit(batch).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(CommitError::Failed(error)) => Err(error.into()),
    }
}

/// The answer when others were faster each time.
pub(crate) fn busy() -> Error {
    Error::unavailable(&"the devices of the user change too fast")
}

/// A device as its owner sees it. All keys are always there, and never null: the specification allows no null, and
/// matrix-nio refuses a list in which a key is missing. Clients take an empty name for none. Addresses are not kept.
#[derive(Clone, Debug, Serialize)]
struct Shown {
    device_id: OwnedDeviceId,
    display_name: String,
    last_seen_ip: &'static str,
    last_seen_ts: u64,
}

fn shown(device: Device) -> Shown {
    Shown {
        device_id: device.device_id,
        display_name: device.display_name.unwrap_or_default(),
        last_seen_ip: "",
        last_seen_ts: device.last_seen.0,
    }
}
