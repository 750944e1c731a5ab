//! `POST /_matrix/client/v3/logout/all`

use hearth_users::Session;
use ruma::api::client::session::logout_all::v3::{Request, Response};

use crate::{App, devices, error::Error};

/// Deletes all devices of the user.
pub(super) async fn logout_all(app: App, session: Session, _: Request) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let all = app.users.devices(&view, &session.user_id).await?;
    let all: Vec<_> = all.into_iter().map(|device| device.device_id).collect();
    devices::delete(&app, &session.user_id, &all).await?;
    Ok(Response::new())
}
