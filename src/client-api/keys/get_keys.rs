//! `POST /_matrix/client/v3/keys/query`

use hearth_users::Session;
use ruma::{
    UserId,
    api::client::keys::get_keys::v3::{Request, Response},
};
use serde_json::json;

use crate::{App, error::Error};

/// Servers that are not reached are named among the failures, so that the client asks again later.
pub(super) async fn get_keys(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let mut answer = app
        .users
        .query_keys(&view, &session.user_id, &request.device_keys)
        .await?;
    let users = request.device_keys.keys().map(|user| &**user);
    for server in unreached(&app, users) {
        answer.failures.insert(server, json!({}));
    }
    Ok(answer)
}

/// The other servers among those of `users`.
pub(super) fn unreached<'a>(
    app: &App,
    users: impl Iterator<Item = &'a UserId>,
) -> impl Iterator<Item = String> {
    let own = app.settings.server_name.clone();
    users
        .map(UserId::server_name)
        .filter(move |server| *server != own)
        .map(ToString::to_string)
}
