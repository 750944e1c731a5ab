//! `GET /_matrix/client/v3/devices/{deviceId}`

use hearth_users::Session;
use ruma::api::client::device::get_device::v3::Request;

use super::Shown;
use crate::{App, answer::Json, error::Error};

pub(super) async fn get_device(
    app: App,
    session: Session,
    request: Request,
) -> Result<Json<Shown>, Error> {
    let view = app.store.view().await?;
    let found = app
        .users
        .device(&view, &session.user_id, &request.device_id)
        .await?;
    let device = found.ok_or_else(|| Error::not_found("there is no such device"))?;
    Ok(Json(super::shown(device)))
}
