//! `POST /_matrix/client/v3/account/password`

use hearth_store::Batch;
use hearth_users::Session;
use ruma::{
    DeviceId, UserId,
    api::client::account::change_password::v3::{Request, Response},
};

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
    let (user, keep) = (&session.user_id, Some(&*session.device_id));
    set_password(
        &app,
        user,
        request.new_password,
        request.logout_devices,
        keep,
    )
    .await?;
    Ok(Response::new())
}

/// Gives `user` another password and, if so wanted, logs them out everywhere but on the device `keep`.
///
/// # Errors
/// Those of a bad password; 404 or 403 for a user who is not there any more.
pub(crate) async fn set_password(
    app: &App,
    user: &UserId,
    new: String,
    logout_devices: bool,
    keep: Option<&DeviceId>,
) -> Result<(), Error> {
    let hashed = app.users.hash_password(new).await?;
    for _ in 0..devices::ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        app.users
            .plan_password(&view, &mut batch, user, &hashed)
            .await?;
        if logout_devices {
            for device in app.users.devices(&view, user).await? {
                if Some(&*device.device_id) != keep {
                    app.users
                        .plan_device_deletion(&view, &mut batch, user, &device.device_id)
                        .await?;
                }
            }
        }
        if devices::commit(app, &view, batch, user).await? {
            return Ok(());
        }
    }
    Err(devices::busy())
}
