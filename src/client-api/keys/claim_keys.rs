//! `POST /_matrix/client/v3/keys/claim`

use futures_util::{StreamExt as _, stream};
use hearth_users::Session;
use ruma::api::client::keys::claim_keys::v3::{Request, Response};
use serde_json::json;

use super::get_keys::{AT_ONCE, elsewhere};
use crate::{App, error::Error};

/// Servers that are not reached are named among the failures, so that the client tries again later.
pub(super) async fn claim_keys(app: App, _: Session, request: Request) -> Result<Response, Error> {
    let mut wanted = request.one_time_keys;
    let servers = elsewhere(&app, wanted.clone());
    wanted.retain(|user, _| user.server_name() == app.settings.server_name);
    let mut answer = Response::new(app.users.claim_keys(&wanted).await?);
    let asked = servers.into_iter().map(|(server, wanted)| {
        let app = &app;
        async move {
            let claimed = match app.rooms.remote() {
                Ok(remote) => remote.claim_keys(&server, wanted).await.ok(),
                Err(_) => None,
            };
            (server, claimed)
        }
    });
    let asked: Vec<_> = asked.collect();
    let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some((server, claimed)) = answers.next().await {
        match claimed {
            // A server speaks for its own users alone.
            Some(claimed) => answer.one_time_keys.extend(
                claimed
                    .into_iter()
                    .filter(|(user, _)| user.server_name() == server),
            ),
            None => {
                answer.failures.insert(server.to_string(), json!({}));
            }
        }
    }
    Ok(answer)
}
