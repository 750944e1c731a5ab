//! `POST /_matrix/client/v3/keys/claim`

use hearth_users::Session;
use ruma::api::client::keys::claim_keys::v3::{Request, Response};
use serde_json::json;

use super::get_keys::unreached;
use crate::{App, error::Error};

pub(super) async fn claim_keys(app: App, _: Session, request: Request) -> Result<Response, Error> {
    let mut wanted = request.one_time_keys;
    let users = wanted.keys().map(|user| &**user);
    let failures = unreached(&app, users)
        .map(|server| (server, json!({})))
        .collect();
    wanted.retain(|user, _| user.server_name() == app.settings.server_name);
    let mut answer = Response::new(app.users.claim_keys(&wanted).await?);
    answer.failures = failures;
    Ok(answer)
}
