//! A server without sockets, and a client that calls it.

use std::sync::Arc;

use axum::{Router, body::Body};
use hearth_base::{Clock, Rng, SystemClock, SystemRng};
use hearth_conformance::{Exchange, Recorder, Specification};
use hearth_protocol::SigningKey;
use hearth_rooms::Rooms;
use hearth_store::{MemoryHints, Store, engines::rocksdb};
use hearth_sync::Sync;
use hearth_users::{Limits, NewAccount, NewDevice, Users};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use ruma::server_name;
use serde_json::{Value, json, value::RawValue};
use tower::ServiceExt;

use crate::{App, Registration, Services, Settings, router};

/// The router, and the folder that its store lives in. Where the specification is at hand, every answer is judged by it.
pub(super) struct Server {
    pub(super) app: App,
    router: Router,
    pub(super) sync: Sync,
    pub(super) users: Users,
    recorder: Option<Recorder>,
    _folder: tempfile::TempDir,
}

/// A status and a body, which is always JSON.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answered {
    /// The errcode, empty for an answer that is none.
    pub(super) fn errcode(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or_default()
    }

    /// The body of an answer that has to be a success.
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// Checks a refusal.
    pub(super) fn refused(&self, status: u16, errcode: &str) {
        assert_eq!(
            (self.status.as_u16(), self.errcode()),
            (status, errcode),
            "{}",
            self.body
        );
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A server with other settings than an open one's.
    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = rocksdb::Options {
            relaxed: true,
            ..rocksdb::Options::at(folder.path())
        };
        let engine = rocksdb::open(options).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let now = {
            let clock = clock.clone();
            move || clock.now().0
        };
        let store = Store::new(engine, Arc::new(MemoryHints::new(now)));
        let name = server_name!("example.org").to_owned();
        // Hashing passwords is not what is tested.
        let limits = Limits {
            password_memory_kib: 64,
            password_passes: 1,
            ..Limits::default()
        };
        let key = Arc::new(SigningKey::generate(&name, "ed25519:1", [7; 32]).unwrap());
        let rooms = Rooms::new(
            store.clone(),
            clock.clone(),
            rng.clone(),
            key,
            name.clone(),
            hearth_rooms::Memory::default(),
        );
        let users = Users::new(
            store.clone(),
            clock.clone(),
            rng.clone(),
            name.clone(),
            limits,
        );
        let sync = Sync::new(store.clone(), rooms.clone(), users.clone(), clock.clone());
        let mut settings = Settings {
            registration: Registration::Open,
            max_body_bytes: 256 * 1024,
            ..Settings::new(name)
        };
        change(&mut settings);
        let app = App::new(Services {
            store,
            rooms,
            users: users.clone(),
            sync: sync.clone(),
            clock,
            rng,
            settings,
        });
        Self {
            router: router(app.clone()),
            app,
            recorder: Specification::shared().unwrap().map(Recorder::new),
            sync,
            users,
            _folder: folder,
        }
    }

    /// Sends bytes as they are.
    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<Body>,
    ) -> Answered {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        if let Some(recorder) = &self.recorder {
            recorder.record(&Exchange {
                method: method.as_str(),
                target: path,
                sent: &[],
                status: status.as_u16(),
                content_type: kind.as_ref().and_then(|kind| kind.to_str().ok()),
                body: &bytes,
            });
        }
        let body = match bytes.is_empty() {
            true => Value::Null,
            // Numbers that are kept for a client as it wrote them may be beyond what this test can read.
            false => {
                serde_json::from_slice::<&RawValue>(&bytes).unwrap();
                serde_json::from_slice(&bytes).unwrap_or_default()
            }
        };
        Answered { status, body }
    }

    /// Makes an account and logs it in.
    pub(super) async fn register(&self, name: &str) -> Client<'_> {
        let user = self.users.local_user(name).unwrap();
        let account = NewAccount::new(user, Some("a long enough secret".to_owned()));
        let device = NewDevice {
            device_id: None,
            display_name: None,
            refreshable: false,
        };
        let login = self.users.register(account, Some(device)).await;
        let login = login.unwrap().unwrap();
        Client {
            server: self,
            token: login.access_token,
            user: login.user_id.to_string(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let faults = self.recorder.as_ref().map(Recorder::faults);
        let faults = faults.unwrap_or_default();
        // A test that fails already says why.
        assert!(
            std::thread::panicking() || faults.is_empty(),
            "answers are not as the specification says:\n  {}",
            faults.join("\n  ")
        );
    }
}

/// A device of a user.
pub(super) struct Client<'a> {
    pub(super) server: &'a Server,
    pub(super) token: String,
    pub(super) user: String,
}

impl Client<'_> {
    /// Calls a path below `/_matrix/client/v3`, or one that is given whole.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answered {
        let path = match path.starts_with("/_matrix") {
            true => path.to_owned(),
            false => format!("/_matrix/client/v3{path}"),
        };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.server
            .raw(method, &path, Some(&self.token), body)
            .await
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answered {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answered {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Makes a room and returns its id, ready for a path.
    pub(super) async fn room(&self, body: Value) -> String {
        let answer = self.post("/createRoom", body).await.ok();
        answer["room_id"].as_str().unwrap().replace('!', "%21")
    }

    /// Sends a text and returns its event id, ready for a path.
    pub(super) async fn say(&self, room: &str, txn: &str, text: &str) -> String {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let body = json!({ "msgtype": "m.text", "body": text });
        let answer = self.put(&path, body).await.ok();
        answer["event_id"].as_str().unwrap().replace('$', "%24")
    }
}
