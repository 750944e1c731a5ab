//! `POST /_matrix/client/v3/keys/query`

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use hearth_rooms::Tracked;
use hearth_store::View;
use hearth_users::Session;
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId,
    api::{
        client::keys::get_keys::v3::{Request, Response},
        federation::keys::get_keys::v1,
    },
};
use serde_json::json;

use super::known_keys::{add_keys, keys_of};
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
    let mut told = v1::Response::new(BTreeMap::new());
    let servers = elsewhere(&app, request.device_keys);
    let (unknown, tracked) = take_known(&app, &view, servers, &mut told).await?;
    drop(view);
    let patience = request
        .timeout
        .map_or(PATIENCE, |wished| wished.min(PATIENCE));
    let asked = unknown.into_iter().map(|(server, wanted)| {
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
        let known = tracked.iter().filter(|(user, _)| {
            user.server_name() == server && keys.device_keys.contains_key(*user)
        });
        for (user, tracked) in known {
            app.known_keys
                .note(user.clone(), *tracked, keys_of(&keys, user));
        }
        // A server speaks for its own users alone.
        let own = |user: &OwnedUserId| user.server_name() == server;
        told.device_keys
            .extend(keys.device_keys.into_iter().filter(|(user, _)| own(user)));
        told.master_keys
            .extend(keys.master_keys.into_iter().filter(|(user, _)| own(user)));
        let signing = keys
            .self_signing_keys
            .into_iter()
            .filter(|(user, _)| own(user));
        told.self_signing_keys.extend(signing);
    }
    answer.device_keys.extend(told.device_keys);
    answer.master_keys.extend(told.master_keys);
    answer.self_signing_keys.extend(told.self_signing_keys);
    Ok(answer)
}

/// Puts those keys into `told` that are known. Gives what is to be asked, and of whom all that is told may be remembered, and
/// for how long.
async fn take_known(
    app: &App,
    view: &View,
    wanted: ByServer<Vec<OwnedDeviceId>>,
    told: &mut v1::Response,
) -> Result<(ByServer<Vec<OwnedDeviceId>>, BTreeMap<OwnedUserId, Tracked>), Error> {
    let mut unknown = ByServer::new();
    let mut tracked = BTreeMap::new();
    for (server, users) in wanted {
        let mut of_server = BTreeMap::new();
        for (user, devices) in users {
            let since = app.rooms.tracked(view, &user).await?;
            match since.and_then(|since| app.known_keys.get(&user, since)) {
                Some(keys) => add_keys(told, user, keys, &devices),
                None => {
                    if let Some(since) = since.filter(|_| devices.is_empty()) {
                        tracked.insert(user.clone(), since);
                    }
                    of_server.insert(user, devices);
                }
            }
        }
        if !of_server.is_empty() {
            unknown.insert(server, of_server);
        }
    }
    Ok((unknown, tracked))
}

async fn query(
    app: &App,
    server: &ruma::ServerName,
    wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    patience: Duration,
) -> Option<v1::Response> {
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
