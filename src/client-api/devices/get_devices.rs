//! `GET /_matrix/client/v3/devices`

use hearth_users::Session;
use ruma::api::client::device::get_devices::v3::Request;
use serde::Serialize;

use super::Shown;
use crate::{App, answer::Json, error::Error};

/// All of a user's.
#[derive(Debug, Serialize)]
pub(super) struct Devices {
    devices: Vec<Shown>,
}

pub(super) async fn get_devices(
    app: App,
    session: Session,
    _: Request,
) -> Result<Json<Devices>, Error> {
    let view = app.store.view().await?;
    let devices = app.users.devices(&view, &session.user_id).await?;
    let devices = devices.into_iter().map(super::shown).collect();
    Ok(Json(Devices { devices }))
}
