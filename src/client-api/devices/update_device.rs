//! `PUT /_matrix/client/v3/devices/{deviceId}`

use hearth_store::Batch;
use hearth_users::Session;
use ruma::api::client::device::update_device::v3::{Request, Response};

use super::{ATTEMPTS, busy, commit};
use crate::{App, error::Error};

/// Without a name nothing changes.
pub(super) async fn update_device(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (user, device) = (&session.user_id, &request.device_id);
    for _ in 0..ATTEMPTS {
        let view = app.store.view().await?;
        let Some(name) = &request.display_name else {
            let found = app.users.device(&view, user, device).await?;
            found.ok_or_else(|| Error::not_found("there is no such device"))?;
            return Ok(Response::new());
        };
        let mut batch = Batch::new();
        app.users
            .plan_device_name(&view, &mut batch, user, device, Some(name))
            .await?;
        app.users.note_device_change(&mut batch, user);
        if commit(&app, &view, batch, user).await? {
            return Ok(Response::new());
        }
    }
    Err(busy())
}
