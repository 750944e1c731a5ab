//! `POST /_matrix/client/v3/logout`

use hearth_users::Session;
use ruma::api::client::session::logout::v3::{Request, Response};

use crate::{App, devices, error::Error};

/// Logging out deletes the device.
pub(super) async fn logout(app: App, session: Session, _: Request) -> Result<Response, Error> {
    devices::delete(&app, &session.user_id, &[session.device_id]).await?;
    Ok(Response::new())
}
