//! `POST /_matrix/client/v3/keys/upload`

use hearth_store::Batch;
use hearth_users::Session;
use ruma::api::client::keys::upload_keys::v3::{Request, Response};

use super::{ATTEMPTS, busy, commit, signal_rooms};
use crate::{App, error::Error};

pub(super) async fn upload_keys(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (user, device) = (&session.user_id, &session.device_id);
    for _ in 0..ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        let changed = app
            .users
            .plan_key_upload(&view, &mut batch, user, device, &request)
            .await?;
        if changed {
            signal_rooms(&app, &view, &mut batch, user).await?;
        }
        if batch.is_empty() || commit(&app, batch).await?.is_some() {
            let view = app.store.view().await?;
            let counts = app
                .users
                .device_one_time_keys_count(&view, user, device)
                .await?;
            return Ok(Response::new(counts));
        }
    }
    Err(busy())
}
