//! `GET /_matrix/client/v3/devices`

use hearth_users::Session;
use ruma::api::client::device::get_devices::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn get_devices(app: App, session: Session, _: Request) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let devices = app.users.devices(&view, &session.user_id).await?;
    Ok(Response::new(
        devices.into_iter().map(super::shown).collect(),
    ))
}
