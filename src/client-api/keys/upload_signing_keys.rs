//! `POST /_matrix/client/v3/keys/device_signing/upload`

use hearth_store::Batch;
use hearth_users::Session;
use ruma::api::client::keys::upload_signing_keys::v3::{Request, Response};

use super::{ATTEMPTS, busy, commit, signal_rooms};
use crate::{
    App,
    accounts::interactive::{Interactive, require_password},
    error::Error,
};

/// The first keys of a user are taken as they are; replacing them takes the password.
pub(super) async fn upload_signing_keys(
    app: App,
    session: Session,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    let user = &session.user_id;
    let mut allowed = false;
    for _ in 0..ATTEMPTS {
        let view = app.store.view().await?;
        if !allowed
            && app
                .users
                .cross_signing_needs_auth(&view, user, &request)
                .await?
        {
            let auth = request.auth.clone();
            require_password(&app, &session, auth, "replace cross-signing keys").await?;
            allowed = true;
        }
        let mut batch = Batch::new();
        let changed = app
            .users
            .plan_cross_signing(&view, &mut batch, user, &request)
            .await?;
        if changed {
            signal_rooms(&app, &view, &mut batch, user).await?;
        }
        if commit(&app, batch).await?.is_some() {
            return Ok(Response::new());
        }
    }
    Err(busy())
}
