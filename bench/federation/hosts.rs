//! Owns the made-up servers: each is an address of loopback with a key and a certificate of its own. Must never reach further than
//! loopback.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#server-discovery>

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hearth_protocol::SigningKey;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ruma::OwnedServerName;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use tower::ServiceExt as _;

use crate::{Failure, server};

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers.
    Living,
    /// Takes no connections.
    Refusing,
    /// Takes connections and requests, and never answers.
    Silent,
}

/// A made-up server.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) name: OwnedServerName,
    pub(crate) key: SigningKey,
    address: SocketAddr,
    tls: TlsAcceptor,
    mood: watch::Sender<Mood>,
}

impl Host {
    /// From now on it behaves so.
    pub(crate) fn becomes(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How it behaves now.
    pub(crate) fn mood(&self) -> Mood {
        *self.mood.borrow()
    }

    /// The identifier of a user of it.
    pub(crate) fn user(&self, name: &str) -> String {
        format!("@{name}:{}", self.name)
    }
}

/// Makes `count` servers, which answer as `router` does: it finds the [`Host`] that was asked among the extensions of a request. The
/// authority that vouches for them goes into the file `authority`.
pub(crate) async fn start(
    count: usize,
    router: &Router,
    authority: &Path,
) -> Result<Vec<Arc<Host>>, Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Otherwise it is called as what it vouches for, which OpenSSL takes to vouch for itself.
    params
        .distinguished_name
        .push(DnType::CommonName, "the authority of a bench");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(authority, issuer.pem())?;
    let port = server::free_address().await?.port();
    let mut hosts = Vec::new();
    for number in 0..count {
        // 127.77.0.1 and so on; those below 127.1 may be anybody's.
        let (high, low) = (u8::try_from(number / 250)?, u8::try_from(number % 250 + 1)?);
        let address = SocketAddr::from(([127, 77, high, low], port));
        let host = Arc::new(host(number, address, &issuer)?);
        // The first time here, so that an error is seen.
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(live(host.clone(), router.clone(), listener));
        hosts.push(host);
    }
    Ok(hosts)
}

fn host(
    number: usize,
    address: SocketAddr,
    issuer: &CertifiedIssuer<'static, KeyPair>,
) -> Result<Host, Failure> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec![address.ip().to_string()])?;
    let certificate = CertificateDer::from(params.signed_by(&key, issuer)?);
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let name = OwnedServerName::try_from(address.to_string())?;
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&u64::try_from(number)?.to_le_bytes());
    Ok(Host {
        number,
        key: SigningKey::generate(&name, "ed25519:bench", seed)?,
        name,
        address,
        tls: TlsAcceptor::from(Arc::new(tls)),
        mood: watch::channel(Mood::Living).0,
    })
}

/// Listens, as long as it does not refuse.
async fn live(host: Arc<Host>, router: Router, listener: TcpListener) {
    let mut mood = host.mood.subscribe();
    let mut listener = Some(listener);
    loop {
        if *mood.borrow_and_update() == Mood::Refusing {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(host.address).await.ok();
        }
        let Some(open) = &listener else {
            if mood.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = mood.changed() => if changed.is_err() { return },
            accepted = open.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(converse(host.clone(), router.clone(), stream)); }
                // Too many open files, most likely.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// One connection, until it ends or the server refuses.
async fn converse(host: Arc<Host>, router: Router, stream: TcpStream) {
    let mut mood = host.mood.subscribe();
    let talk = async {
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(host.tls.accept(stream).await?);
        let service = service_fn(|request| answer(host.clone(), router.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(stream, service);
        Ok::<_, Failure>(connection.await?)
    };
    tokio::select! {
        // How it ends is the other side's business.
        _ = talk => {}
        _ = mood.wait_for(|mood| *mood == Mood::Refusing) => {}
    }
}

async fn answer(
    host: Arc<Host>,
    router: Router,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut mood = host.mood.subscribe();
    // The sender lives as long as the host does.
    mood.wait_for(|mood| *mood != Mood::Silent).await.ok();
    request.extensions_mut().insert(host);
    router.oneshot(request).await
}
