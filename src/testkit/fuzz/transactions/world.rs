//! Owns the server under test: a whole one without sockets, with a user of its own, and requests to it. Must never look past
//! its endpoints for what is judged.

use std::{fs, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hearth_base::{
    Clock as _, ManualClock, Millis, SeededRng,
    config::{Config, Durability, RegistrationMode},
};
use hearth_federation::reach::Signed;
use hearth_protocol::RoomVersion;
use hearth_server::{Node, Outside, Schema};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::{
    Manner,
    hostile::{EVIL, Hostile, key_of},
};
use crate::source::Source;

/// The name of the server under test.
pub(super) const OWN: &str = "here.test";

/// What its user says in each room before anything else.
pub(super) const PROOF: &str = "said before all";

/// For how many milliseconds is looked whether all is worked off, before that is an error.
const PATIENCE: usize = 20_000;

/// After how many in which nothing was asked a room is left that waits for another attempt.
const QUIET: usize = 60;

/// A room of its user.
pub(super) struct Room {
    pub(super) id: OwnedRoomId,
    pub(super) version: RoomVersion,
    /// Milliseconds since the epoch.
    pub(super) now: u64,
    /// What the user said first.
    pub(super) proof: String,
}

/// The server under test and what is around it.
pub(super) struct World {
    runtime: Option<Runtime>,
    inside: Option<Inside>,
    _folder: TempDir,
}

/// What is used within the runtime.
pub(super) struct Inside {
    node: Node,
    router: Router,
    token: String,
    clock: ManualClock,
    pub(super) hostile: Arc<Hostile>,
}

impl World {
    /// Starts it.
    pub(super) fn start() -> Result<Self, String> {
        tokio_rustls::rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let folder = TempDir::with_prefix("fuzz-").map_err(|e| e.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let inside = runtime.block_on(Inside::start(&folder))?;
        Ok(Self {
            runtime: Some(runtime),
            inside: Some(inside),
            _folder: folder,
        })
    }

    /// Lets something happen in it.
    pub(super) fn run<T>(
        &mut self,
        act: impl AsyncFnOnce(&Inside) -> Result<T, String>,
    ) -> Result<T, String> {
        match (&self.runtime, &self.inside) {
            (Some(runtime), Some(inside)) => runtime.block_on(act(inside)),
            _ => Err("it was closed".to_owned()),
        }
    }

    /// Ends it.
    pub(super) fn close(mut self) {
        if let (Some(runtime), Some(inside)) = (self.runtime.take(), self.inside.take()) {
            runtime.block_on(inside.node.close()).ok();
            runtime.shutdown_background();
        }
    }
}

impl Inside {
    async fn start(folder: &TempDir) -> Result<Self, String> {
        let hostile = Arc::new(Hostile::default());
        let authority = hostile.start().await?;
        let file = folder.path().join("authority.pem");
        fs::write(&file, authority).map_err(|e| e.to_string())?;
        let mut config = Config::default();
        config.server.name = OwnedServerName::try_from(OWN).map_err(|e| e.to_string())?;
        config.server.signing_key_file = folder.path().join("signing.key");
        config.server.control_socket = folder.path().join("control.sock");
        config.store.path = folder.path().join("store");
        config.store.durability = Durability::Relaxed;
        config.registration.mode = RegistrationMode::Open;
        config.limits.rate_limit = false;
        config.federation.extra_ca_file = Some(file);
        config.federation.private_addresses = true;
        let clock = ManualClock::at(Millis(1_700_000_000_000));
        let outside = Outside {
            clock: Arc::new(clock.clone()),
            rng: Arc::new(SeededRng::new(1)),
            names: hostile.clone(),
            schema: Schema::THIS,
        };
        let node = Node::open(&config, outside).await;
        let node = node.map_err(|e| e.to_string())?;
        let router = node.router(&config);
        let mut inside = Self {
            node,
            router,
            token: String::new(),
            clock,
            hostile,
        };
        let account = json!({
            "username": "alice", "password": "a password", "auth": { "type": "m.login.dummy" },
        });
        let made = inside.client(Method::POST, "/register", &account).await?;
        inside.token = made["access_token"].as_str().unwrap_or_default().to_owned();
        Ok(inside)
    }

    async fn ask(&self, request: Request<Body>) -> Result<(u16, Value), String> {
        let answer = self.router.clone().oneshot(request).await;
        let answer = answer.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn as_user(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), String> {
        let body = match method == Method::GET {
            true => Body::empty(),
            false => Body::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("/_matrix/client/v3{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| e.to_string())?;
        self.ask(request).await
    }

    /// What the server answers to its user, which has to be 200.
    async fn client(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        match self.as_user(method, path, body).await? {
            (200, answer) => Ok(answer),
            (status, answer) => Err(format!("the user's {path}: {status} {answer}")),
        }
    }

    /// Makes a room that anybody may join, in which something was said.
    pub(super) async fn make_room(&self, source: &Source) -> Result<Room, String> {
        self.clock.advance(Duration::from_secs(1));
        let version = RoomVersion::ALL[source.pick(12)];
        let settings = json!({ "preset": "public_chat", "room_version": version.as_str() });
        let made = self.client(Method::POST, "/createRoom", &settings).await?;
        let id = made["room_id"].as_str().unwrap_or_default();
        let id = OwnedRoomId::try_from(id).map_err(|e| e.to_string())?;
        let path = format!("/rooms/{id}/send/m.room.message/{}", source.seed);
        let said = json!({ "msgtype": "m.text", "body": PROOF });
        let said = self.client(Method::PUT, &path, &said).await?;
        Ok(Room {
            id,
            version,
            now: self.clock.now().0,
            proof: said["event_id"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// A request of a hostile server; `signed` is what its signature covers.
    pub(super) async fn as_server(
        &self,
        from: &str,
        (method, uri): (&str, &str),
        body: &[u8],
        signed: Signed<'_>,
    ) -> Result<(u16, Value), String> {
        // Spoilt bytes need not be JSON, and cannot be signed then.
        let header = signed.header(&key_of(from)?);
        let header = header
            .unwrap_or_else(|_| format!(r#"X-Matrix origin="{from}",key="ed25519:k",sig="YWJj""#));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, header)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))
            .map_err(|e| e.to_string())?;
        self.ask(request).await
    }

    /// What the server answers to a hostile one.
    pub(super) async fn as_evil(
        &self,
        from: &str,
        method: &str,
        uri: &str,
        body: &[u8],
    ) -> Result<(u16, Value), String> {
        let (origin, destination) = (name(from)?, name(OWN)?);
        let signed = Signed {
            method,
            uri,
            origin,
            destination,
            content: (!body.is_empty()).then_some(body),
        };
        self.as_server(from, (method, uri), body, signed).await
    }

    /// Sends a transaction.
    pub(super) async fn send(
        &self,
        id: &str,
        body: &[u8],
        manner: Manner,
        source: &Source,
    ) -> Result<(u16, Value), String> {
        let uri = format!("/_matrix/federation/v1/send/{id}");
        let (origin, destination) = (name(EVIL[0])?, name(OWN)?);
        let mut signed = Signed {
            method: "PUT",
            uri: &uri,
            origin,
            destination,
            content: Some(body),
        };
        match manner {
            Manner::OtherBody => signed.content = source.once_in(2).then_some(b"{}"),
            // Its own key, in the header of another.
            Manner::OtherServer => signed.origin = name([EVIL[1], OWN][source.pick(2)])?,
            _ => {}
        }
        self.as_server(EVIL[0], ("PUT", &uri), body, signed).await
    }

    /// Waits until what came in is worked off. What waits for another attempt is left alone.
    pub(super) async fn settle(&self) -> Result<(), String> {
        let (mut asked, mut quiet) = (0, 0);
        for _ in 0..PATIENCE {
            for _ in 0..50 {
                if !self.node.rooms().is_working() {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = self.hostile.asked();
            quiet = if now == asked { quiet + 1 } else { 0 };
            asked = now;
            if quiet > QUIET {
                return Ok(());
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// What of the room only those with power may change.
    pub(super) async fn state(&self, room: &Room) -> Result<Value, String> {
        let path = format!("/rooms/{}/state", room.id);
        let state = self.client(Method::GET, &path, &Value::Null).await?;
        let mut guarded: Vec<_> = state
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| {
                let key = event["state_key"].as_str().unwrap_or_default();
                event["type"] != "m.room.member" || key.ends_with(OWN)
            })
            // What members without power may set.
            .filter(|event| {
                let kind = event["type"].as_str().unwrap_or_default();
                !["m.room.aliases", "m.room.third_party_invite"].contains(&kind)
            })
            .map(|event| ["type", "state_key", "event_id"].map(|field| event[field].to_string()))
            .collect();
        guarded.sort_unstable();
        Ok(json!(guarded))
    }

    /// All that the user can read of the room: the timeline, forwards and as sync tells it.
    pub(super) async fn read(&self, room: &Room) -> Result<String, String> {
        let path = format!("/rooms/{}/messages?dir=b&limit=100", room.id);
        let page = self.client(Method::GET, &path, &Value::Null).await?;
        let mut read = page["chunk"].to_string();
        let filter = json!({
            "room": { "rooms": [room.id], "timeline": { "limit": 0 } },
            "account_data": { "types": [] },
        });
        let path = format!("/sync?timeout=0&filter={}", escaped(&filter.to_string()));
        let synced = self.client(Method::GET, &path, &Value::Null).await?;
        read.push_str(&synced["rooms"].to_string());
        read.push_str(&synced["to_device"].to_string());
        read.push_str(&synced["presence"].to_string());
        Ok(read)
    }

    /// One event, as the user and as the hostile server may read it: status and body of whoever gets it.
    pub(super) async fn event(&self, room: &Room, id: &str) -> Result<(u16, Value), String> {
        let path = format!("/rooms/{}/event/{}", room.id, escaped(id));
        let (status, body) = self.as_user(Method::GET, &path, &Value::Null).await?;
        if status >= 500 {
            return Err(format!("the user's {path}: {status} {body}"));
        }
        if status == 200 {
            return Ok((status, body));
        }
        let uri = format!("/_matrix/federation/v1/event/{}", escaped(id));
        let (status, body) = self.as_evil(EVIL[0], "GET", &uri, &[]).await?;
        match status {
            500.. => Err(format!("{uri}: {status} {body}")),
            _ => Ok((status, body)),
        }
    }
}

fn name(text: &str) -> Result<&ServerName, String> {
    <&ServerName>::try_from(text).map_err(|e| e.to_string())
}

/// A text as part of a path.
pub(super) fn escaped(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}
