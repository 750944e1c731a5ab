//! Owns what the made-up servers answer. Must never ask anybody anything, nor verify: what is measured is the server that asks.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hearth_base::Millis;
use hearth_federation::reach::decisions::own_list;
use hearth_protocol::to_text;
use http::{StatusCode, header};
use ruma::{EventId, OwnedEventId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    hosts::Host,
    room::{self, Room},
};

/// What all made-up servers know. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Peer(Arc<Mutex<Known>>);

/// What is known.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) rooms: HashMap<String, Room>,
    pub(crate) arrivals: Arrivals,
    /// How often each path was asked for.
    asked: BTreeMap<String, usize>,
}

/// When numbered messages came to which server.
#[derive(Default)]
pub(crate) struct Arrivals {
    first: usize,
    count: usize,
    /// Of each server, of each message.
    at: Vec<Option<Instant>>,
    pub(crate) came: usize,
}

impl Arrivals {
    /// Messages numbered from `first` on are expected at `hosts` servers.
    pub(crate) fn expect(hosts: usize, first: usize, count: usize) -> Self {
        Self {
            first,
            count,
            at: vec![None; hosts * count],
            came: 0,
        }
    }

    fn note(&mut self, host: usize, message: usize) {
        let Some(number) = message.checked_sub(self.first).filter(|n| *n < self.count) else {
            return;
        };
        if let Some(at @ None) = self.at.get_mut(host * self.count + number) {
            *at = Some(Instant::now());
            self.came += 1;
        }
    }

    /// When each message came to the server of this number.
    pub(crate) fn of(&self, host: usize) -> &[Option<Instant>] {
        &self.at[host * self.count..(host + 1) * self.count]
    }
}

impl Peer {
    /// What is known now.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        // Nobody panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since this was asked last, in words.
    pub(crate) fn asked(&self) -> String {
        let asked = std::mem::take(&mut self.known().asked);
        let words: Vec<_> = asked
            .iter()
            .map(|(path, times)| format!("{path} {times}"))
            .collect();
        words.join(", ")
    }

    /// The endpoints.
    pub(crate) fn router(&self) -> Router {
        let of_room = Router::new()
            .route("/make_join/{room}/{user}", get(make_join))
            .route("/make_leave/{room}/{user}", get(make_leave))
            .route("/state/{room}", get(state))
            .route("/state_ids/{room}", get(state_ids))
            .route("/event/{event}", get(event))
            .route("/event_auth/{room}/{event}", get(event_auth))
            .route("/backfill/{room}", get(backfill))
            .route("/get_missing_events/{room}", post(missing_events));
        let of_users = Router::new()
            .route("/send/{transaction}", put(send))
            .route("/query/profile", get(async || good(json!({}))))
            .route("/user/devices/{user}", get(devices))
            .route(
                "/user/keys/query",
                post(async || good(json!({ "device_keys": {} }))),
            );
        Router::new()
            .route("/_matrix/key/v2/server", get(keys))
            .route(
                "/_matrix/federation/v2/send_join/{room}/{event}",
                put(send_join),
            )
            .nest("/_matrix/federation/v1", of_room.merge(of_users))
            .fallback(async || missing())
            .layer(from_fn_with_state(self.clone(), count))
            .with_state(self.clone())
    }
}

async fn count(State(peer): State<Peer>, request: Request, next: Next) -> Response {
    // After `/_matrix/federation/v1/`, or the like.
    let path = request.uri().path().split('/').nth(4);
    let path = path.unwrap_or_default().to_owned();
    *peer.known().asked.entry(path).or_default() += 1;
    next.run(request).await
}

fn json_of(text: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}

fn good(value: Value) -> Response {
    json_of(value.to_string())
}

fn missing() -> Response {
    let body =
        json_of(json!({ "errcode": "M_NOT_FOUND", "error": "there is no such thing" }).to_string());
    (StatusCode::NOT_FOUND, body).into_response()
}

async fn keys(Extension(host): Extension<Arc<Host>>) -> Response {
    let list = own_list(&host.key, Millis(room::now()));
    match list.ok().and_then(|list| to_text(&list).ok()) {
        Some(text) => json_of(text),
        None => missing(),
    }
}

async fn make_join(
    State(peer): State<Peer>,
    Path((room, user)): Path<(String, String)>,
) -> Response {
    peer.template(&room, &user, "join")
}

async fn make_leave(
    State(peer): State<Peer>,
    Path((room, user)): Path<(String, String)>,
) -> Response {
    peer.template(&room, &user, "leave")
}

#[derive(Deserialize)]
struct Joining {
    #[serde(default)]
    omit_members: bool,
}

async fn send_join(
    State(peer): State<Peer>,
    Path((room, _)): Path<(String, String)>,
    Query(Joining { omit_members }): Query<Joining>,
    join: Bytes,
) -> Response {
    let mut known = peer.known();
    let admitted = known
        .rooms
        .get_mut(&room)
        .map(|room| room.admit(&join, omit_members));
    match admitted {
        Some(Ok(answer)) => json_of(answer),
        _ => missing(),
    }
}

#[derive(Deserialize)]
struct Before {
    event_id: OwnedEventId,
}

async fn state(
    State(peer): State<Peer>,
    Path(room): Path<String>,
    Query(Before { event_id }): Query<Before>,
) -> Response {
    let known = peer.known();
    let state = known
        .rooms
        .get(&room)
        .and_then(|room| room.state(&event_id));
    state.map_or_else(missing, json_of)
}

async fn state_ids(
    State(peer): State<Peer>,
    Path(room): Path<String>,
    Query(Before { event_id }): Query<Before>,
) -> Response {
    let known = peer.known();
    let ids = known
        .rooms
        .get(&room)
        .and_then(|room| room.state_ids(&event_id));
    ids.map_or_else(missing, good)
}

async fn event(
    State(peer): State<Peer>,
    Extension(host): Extension<Arc<Host>>,
    Path(id): Path<OwnedEventId>,
) -> Response {
    let known = peer.known();
    let event = known.rooms.values().find_map(|room| room.event(&id));
    let answer = |event| {
        let (origin, now) = (&host.name, room::now());
        json_of(format!(
            "{{\"origin\":\"{origin}\",\"origin_server_ts\":{now},\"pdus\":[{event}]}}"
        ))
    };
    event.map_or_else(missing, answer)
}

async fn event_auth(
    State(peer): State<Peer>,
    Path((room, id)): Path<(String, OwnedEventId)>,
) -> Response {
    let known = peer.known();
    let chain = known.rooms.get(&room).and_then(|room| room.event_auth(&id));
    chain.map_or_else(missing, json_of)
}

async fn backfill(
    State(peer): State<Peer>,
    Extension(host): Extension<Arc<Host>>,
    Path(room): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let latest: Vec<_> = query
        .iter()
        .filter(|(name, _)| name == "v")
        .filter_map(|(_, id)| EventId::parse(id).ok())
        .collect();
    let limit = query.iter().find(|(name, _)| name == "limit");
    let limit = limit
        .and_then(|(_, limit)| limit.parse().ok())
        .unwrap_or(100);
    let known = peer.known();
    let Some(room) = known.rooms.get(&room) else {
        return missing();
    };
    let (origin, now) = (&host.name, room::now());
    let events = room.between(&[], &latest, limit, true);
    json_of(format!(
        "{{\"origin\":\"{origin}\",\"origin_server_ts\":{now},\"pdus\":{events}}}"
    ))
}

#[derive(Deserialize)]
struct Gap {
    earliest_events: Vec<OwnedEventId>,
    latest_events: Vec<OwnedEventId>,
    #[serde(default)]
    limit: Option<usize>,
}

async fn missing_events(
    State(peer): State<Peer>,
    Path(room): Path<String>,
    body: Bytes,
) -> Response {
    let known = peer.known();
    let (Some(room), Ok(gap)) = (known.rooms.get(&room), serde_json::from_slice::<Gap>(&body))
    else {
        return missing();
    };
    let limit = gap.limit.unwrap_or(10);
    let events = room.between(&gap.earliest_events, &gap.latest_events, limit, false);
    json_of(format!("{{\"events\":{events}}}"))
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(default)]
    pdus: Vec<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    /// A number, if it is one of the messages that are counted.
    #[serde(default)]
    body: Option<String>,
}

async fn send(
    State(peer): State<Peer>,
    Extension(host): Extension<Arc<Host>>,
    body: Bytes,
) -> Response {
    let Ok(transaction) = serde_json::from_slice::<Transaction>(&body) else {
        return missing();
    };
    let mut known = peer.known();
    for event in transaction.pdus {
        if let Some(number) = event.content.body.and_then(|body| body.parse().ok()) {
            known.arrivals.note(host.number, number);
        }
    }
    good(json!({ "pdus": {} }))
}

async fn devices(Path(user): Path<String>) -> Response {
    good(json!({ "user_id": user, "stream_id": 1, "devices": [] }))
}

impl Peer {
    fn template(&self, room: &str, user: &str, membership: &str) -> Response {
        let known = self.known();
        let template = known
            .rooms
            .get(room)
            .map(|room| room.template(user, membership));
        template.map_or_else(missing, good)
    }
}
