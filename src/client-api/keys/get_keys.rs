//! `POST /_matrix/client/v3/keys/query`

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use hearth_users::Session;
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId,
    api::client::keys::get_keys::v3::{Request, Response},
};
use serde_json::json;

use crate::{App, error::Error};

/// How long other servers are waited for at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many of them are asked at once.
pub(super) const AT_ONCE: usize = 16;

/// What is asked of each server.
pub(super) type ByServer<T> = BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, T>>;

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
    drop(view);
    let patience = request
        .timeout
        .map_or(PATIENCE, |wished| wished.min(PATIENCE));
    let servers = elsewhere(&app, request.device_keys);
    let asked = servers.into_iter().map(|(server, wanted)| {
        let app = &app;
        async move {
            let keys = query(app, &server, wanted, patience).await;
            (server, keys)
        }
    });
    let asked: Vec<_> = asked.collect();
    let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some((server, keys)) = answers.next().await {
        let Some(keys) = keys else {
            answer.failures.insert(server.to_string(), json!({}));
            continue;
        };
        // A server speaks for its own users alone.
        let own = |user: &OwnedUserId| user.server_name() == server;
        answer
            .device_keys
            .extend(keys.device_keys.into_iter().filter(|(user, _)| own(user)));
        answer
            .master_keys
            .extend(keys.master_keys.into_iter().filter(|(user, _)| own(user)));
        let signing = keys
            .self_signing_keys
            .into_iter()
            .filter(|(user, _)| own(user));
        answer.self_signing_keys.extend(signing);
    }
    Ok(answer)
}

async fn query(
    app: &App,
    server: &ruma::ServerName,
    wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    patience: Duration,
) -> Option<ruma::api::federation::keys::get_keys::v1::Response> {
    let asked = app.rooms.remote().ok()?.query_keys(server, wanted);
    let answer = tokio::time::timeout(patience, asked).await.ok()?;
    answer
        .inspect_err(|error| tracing::debug!(%server, %error, "no keys"))
        .ok()
}

/// What is asked about users of other servers, by server.
pub(super) fn elsewhere<T>(app: &App, wanted: BTreeMap<OwnedUserId, T>) -> ByServer<T> {
    let mut servers = ByServer::new();
    for (user, what) in wanted {
        if user.server_name() != app.settings.server_name {
            let server = servers.entry(user.server_name().to_owned()).or_default();
            server.insert(user, what);
        }
    }
    servers
}
