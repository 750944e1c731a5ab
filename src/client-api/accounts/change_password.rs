//! `POST /_matrix/client/v3/account/password`

use hearth_store::Batch;
use hearth_users::Session;
use ruma::api::client::account::change_password::v3::{Request, Response};

use super::interactive::{Interactive, require_password};
use crate::{App, devices, error::Error};

/// Logs the user's other devices out as well, unless told not to.
pub(super) async fn change_password(
    app: App,
    session: Option<Session>,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    let session = session.ok_or_else(|| Error::missing_token("an access token is needed"))?;
    require_password(&app, &session, request.auth, "change password").await?;
    let user = &session.user_id;
    let hashed = app.users.hash_password(request.new_password).await?;
    for _ in 0..devices::ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        app.users
            .plan_password(&view, &mut batch, user, &hashed)
            .await?;
        if request.logout_devices {
            for device in app.users.devices(&view, user).await? {
                if device.device_id != session.device_id {
                    app.users
                        .plan_device_deletion(&view, &mut batch, user, &device.device_id)
                        .await?;
                }
            }
        }
        if devices::commit(&app, &view, batch, user).await? {
            return Ok(Response::new());
        }
    }
    Err(devices::busy())
}
