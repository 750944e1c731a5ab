//! Owns the hostile servers: one listener that answers for all of their names. They tell their keys, so that what they sign
//! counts, and otherwise what the input says. Must never reach further than loopback.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use futures_util::future::BoxFuture;
use hearth_base::Millis;
use hearth_federation::reach::{Names, NoName, Service, decisions::own_list};
use hearth_protocol::{SigningKey, to_text};
use http::{StatusCode, header};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ruma::ServerName;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use super::{forge::Forger, world::Room};
use crate::source::Source;

/// The domain of all of them.
const DOMAIN: &str = ".evil.test";

/// Those that sign and send; the first sends transactions.
pub(super) const EVIL: [&str; 3] = ["e0.evil.test", "e1.evil.test", "e2.evil.test"];

/// The key of a server of that domain.
pub(super) fn key_of(server: &str) -> Result<SigningKey, String> {
    let name = <&ServerName>::try_from(server).map_err(|e| e.to_string())?;
    SigningKey::generate(name, "ed25519:k", Sha256::digest(server).into())
        .map_err(|e| e.to_string())
}

/// What they answer to an input.
#[derive(Default)]
struct Script {
    now: u64,
    missing: Value,
    auth_chain: Value,
    state_ids: Value,
    state: Value,
    event: Value,
    /// Whether what they answer is no JSON, or cut off.
    is_spoilt: bool,
}

/// The servers.
#[derive(Default)]
pub(super) struct Hostile {
    asked: AtomicUsize,
    port: AtomicUsize,
    script: Mutex<Script>,
}

impl Hostile {
    /// Begins to listen; gives the authority that vouches for the names.
    pub(super) async fn start(self: &Arc<Self>) -> Result<String, String> {
        let text = |e: rcgen::Error| e.to_string();
        let mut params = CertificateParams::new(Vec::new()).map_err(text)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = KeyPair::generate().map_err(text)?;
        let authority = CertifiedIssuer::self_signed(params, own).map_err(text)?;
        let key = KeyPair::generate().map_err(text)?;
        let names = vec![format!("*{DOMAIN}")];
        let leaf = CertificateParams::new(names).map_err(text)?;
        let leaf = leaf.signed_by(&key, &authority).map_err(text)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(|e| e.to_string())?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let tcp = tcp.map_err(|e| e.to_string())?;
        let port = tcp.local_addr().map_err(|e| e.to_string())?.port();
        self.port.store(port.into(), Ordering::Relaxed);
        let listener = Listener {
            tcp,
            tls: TlsAcceptor::from(Arc::new(config)),
        };
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        Ok(authority.pem())
    }

    /// How much was asked since the input began.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Begins an input: nothing is told but keys, which are good from `now` on, in milliseconds since the epoch.
    pub(super) fn begin(&self, now: u64) {
        *self.script.lock() = Script {
            now,
            ..Script::default()
        };
    }

    /// Says what is answered to what the server under test asks because of the input.
    pub(super) fn prepare(&self, source: &Source, room: &Room, forger: &Forger) {
        self.asked.store(0, Ordering::Relaxed);
        let mut script = Script {
            now: room.now,
            is_spoilt: source.once_in(20),
            ..Script::default()
        };
        // An answer costs as much as the reading of it: large ones are rare.
        let many = [0, 1, 5, 20, 60, 3_000][source.pick(6)];
        let events = forger.junk(source, many.min(60));
        let ids: Vec<Value> = (0..many).map(|_| forger.unknown(source).into()).collect();
        let repeated: Vec<&Value> = events
            .iter()
            .cycle()
            .take(many.min(events.len() * 60))
            .collect();
        match source.pick(4) {
            0 => script.missing = json!({ "events": repeated }),
            1 => script.missing = json!({ "events": events }),
            _ => script.missing = json!({ "events": [] }),
        }
        match source.pick(3) {
            0 => script.auth_chain = json!({ "auth_chain": [] }),
            _ => script.auth_chain = json!({ "auth_chain": repeated }),
        }
        script.state_ids = json!({ "pdu_ids": ids, "auth_chain_ids": ids });
        script.state = json!({ "pdus": repeated, "auth_chain": events });
        script.event = match events.first() {
            Some(event) if source.once_in(2) => json!({
                "origin": EVIL[0], "origin_server_ts": 1, "pdus": [event],
            }),
            _ => Value::Null,
        };
        if source.once_in(10) {
            for part in [
                &mut script.missing,
                &mut script.auth_chain,
                &mut script.state_ids,
            ] {
                source.bend(part);
            }
        }
        *self.script.lock() = script;
    }

    fn say(&self, host: &str, path: &str) -> Result<Value, String> {
        let script = self.script.lock();
        let path = path.trim_start_matches("/_matrix/federation/v1/");
        let first = path.split('/').next().unwrap_or_default();
        Ok(match first {
            "get_missing_events" => script.missing.clone(),
            "event_auth" => script.auth_chain.clone(),
            "state_ids" => script.state_ids.clone(),
            "state" => script.state.clone(),
            "event" => script.event.clone(),
            _ if path == "/_matrix/key/v2/server" => {
                let list = own_list(&key_of(host)?, Millis(script.now))?;
                let text = to_text(&list).map_err(|e| e.to_string())?;
                serde_json::from_str(&text).map_err(|e| e.to_string())?
            }
            _ => Value::Null,
        })
    }
}

async fn answer(State(hostile): State<Arc<Hostile>>, request: Request) -> Response {
    hostile.asked.fetch_add(1, Ordering::Relaxed);
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    let is_spoilt = hostile.script.lock().is_spoilt && !path.starts_with("/_matrix/key");
    match hostile.say(host, path) {
        Ok(_) if is_spoilt => "{\"events\":[".into_response(),
        Ok(Value::Null) | Err(_) => {
            let refusal = json!({ "errcode": "M_NOT_FOUND", "error": "nothing" });
            (StatusCode::NOT_FOUND, axum::Json(refusal)).into_response()
        }
        Ok(value) => axum::Json(value).into_response(),
    }
}

impl Names for Hostile {
    fn addresses(&self, host: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NoName>> {
        let found = match host.ends_with(DOMAIN) {
            true => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            false => Err(NoName(format!("there is no {host}"))),
        };
        Box::pin(async move { found })
    }

    fn services(&self, name: &str) -> BoxFuture<'static, Result<Vec<Service>, NoName>> {
        let host = name.strip_prefix("_matrix-fed._tcp.");
        let host = host.filter(|host| host.ends_with(DOMAIN));
        let port = u16::try_from(self.port.load(Ordering::Relaxed)).unwrap_or(0);
        let found = host.map(|host| Service {
            priority: 10,
            weight: 1,
            target: host.to_owned(),
            port,
        });
        Box::pin(async move { Ok(found.into_iter().collect()) })
    }
}

/// Connections with TLS.
struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
