//! Owns the connections to other servers: TLS, reuse, time limits, the guard on addresses. Must never know what is asked
//! for, nor follow a redirect but for `.well-known`.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#tls>

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    addresses::is_public,
    names::{Names, NoName},
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long one that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How many of those are kept for one server.
const IDLE_PER_HOST: usize = 2;

/// How often `.well-known` may lead elsewhere.
const MAX_REDIRECTS: usize = 5;

/// How many hosts whose service lies elsewhere are remembered.
const MAX_TARGETS: usize = 10_000;

/// The connections of this server to others.
pub(crate) struct Web {
    /// To hosts that are where their name says.
    direct: Client,
    /// To hosts whose service is elsewhere, as an SRV record says.
    moved: Client,
    /// For `.well-known`, which any web server of the host answers.
    well_known: Client,
    targets: Arc<Mutex<HashMap<String, String>>>,
    names: Arc<dyn Names>,
    private_addresses: bool,
}

/// Why there is no such [`Web`].
#[derive(Debug, thiserror::Error)]
pub enum NoWeb {
    /// A certificate of the operator's is none.
    #[error("the further certificate authorities cannot be used: {0}")]
    Roots(String),
    /// The system refuses.
    #[error("there is no HTTPS client: {0}")]
    Client(String),
}

impl Web {
    /// Connections that trust the system's certificate authorities and `extra_roots`. Blocks: reads the system's files.
    pub(crate) fn new(
        names: Arc<dyn Names>,
        extra_roots: &[CertificateDer<'static>],
        private_addresses: bool,
    ) -> Result<Self, NoWeb> {
        let tls = tls(extra_roots)?;
        let targets = Arc::new(Mutex::new(HashMap::new()));
        let guard = |targets| {
            Arc::new(Guard {
                names: names.clone(),
                private_addresses,
                targets,
            })
        };
        Ok(Self {
            direct: client(&tls, guard(None), redirect::Policy::none())?,
            moved: client(&tls, guard(Some(targets.clone())), redirect::Policy::none())?,
            well_known: client(&tls, guard(None), careful_redirects(private_addresses))?,
            targets,
            names,
            private_addresses,
        })
    }

    /// Forgets where a host is, at whose addresses nobody was found.
    pub(crate) fn forget(&self, host: &str) {
        self.names.forget(host);
    }

    /// The client for `.well-known`.
    pub(crate) fn well_known(&self) -> &Client {
        &self.well_known
    }

    /// The client for a host whose service is at `target`, if it is elsewhere.
    pub(crate) fn client(&self, host: &str, target: Option<&str>) -> &Client {
        let Some(target) = target else {
            return &self.direct;
        };
        let mut targets = self.targets.lock();
        if targets.len() >= MAX_TARGETS && !targets.contains_key(host) {
            targets.clear();
        }
        targets.insert(host.to_ascii_lowercase(), target.to_owned());
        &self.moved
    }

    /// Whether a host that is an address, or any other host, may be connected to as far as that is known before names
    /// are looked up.
    pub(crate) fn allows_host(&self, host: &str) -> bool {
        may_reach(host, self.private_addresses)
    }
}

/// Whether a host may be connected to, as far as that is known before its name is looked up: one that is an address has to
/// be a public one, unless private ones are allowed too.
#[must_use]
pub fn may_reach(host: &str, private_addresses: bool) -> bool {
    if private_addresses {
        return true;
    }
    // As the client reads it: `127.1` and `0x7f000001` are addresses too.
    let Ok(url) = Url::parse(&format!("https://{host}/")) else {
        return false;
    };
    url.host_str()
        .is_some_and(|host| literal(host).is_none_or(is_public))
}

/// The address that a host is, in brackets or not.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn careful_redirects(private_addresses: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let fits = attempt.url().scheme() == "https"
            && attempt
                .url()
                .host_str()
                .is_some_and(|host| may_reach(host, private_addresses));
        if !fits || attempt.previous().len() > MAX_REDIRECTS {
            return attempt.stop();
        }
        attempt.follow()
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the one configured client"
)]
fn client(
    tls: &ClientConfig,
    guard: Arc<Guard>,
    redirects: redirect::Policy,
) -> Result<Client, NoWeb> {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(guard)
        .redirect(redirects)
        .no_proxy()
        .https_only(true)
        // The `Host` of a request need not be the host of its address, which HTTP/2 has no two fields for.
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .user_agent(concat!("Hearth/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| NoWeb::Client(e.to_string()))
}

fn tls(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, NoWeb> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    for root in extra_roots {
        roots
            .add(root.clone())
            .map_err(|e| NoWeb::Roots(e.to_string()))?;
    }
    if roots.is_empty() {
        tracing::warn!(
            "the system trusts no certificate authority: no other server can be reached"
        );
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| NoWeb::Client(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Looks names up for a client, and keeps the addresses that may be used.
struct Guard {
    names: Arc<dyn Names>,
    private_addresses: bool,
    targets: Option<Arc<Mutex<HashMap<String, String>>>>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_ascii_lowercase();
        let target = self
            .targets
            .as_ref()
            .and_then(|targets| targets.lock().get(&host).cloned())
            .unwrap_or(host);
        let found = self.names.addresses(&target);
        let private_addresses = self.private_addresses;
        Box::pin(async move {
            let mut found = found.await?;
            if found.is_empty() {
                return Err(NoName(format!("{target} has no address")).into());
            }
            found.retain(|address| private_addresses || is_public(*address));
            if found.is_empty() {
                return Err(NoName(format!("{target} is in a private network")).into());
            }
            // The port is that of the address of the request.
            let sockets = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_however_it_is_written() {
        let private = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0.0.0.0",
            "0",
            "10.1",
            "192.168.257",
            "[::1]",
            "[::ffff:7f00:1]",
            "127.0.0.1.",
        ];
        for host in private {
            assert!(!may_reach(host, false), "{host}");
            assert!(may_reach(host, true), "{host}");
        }
        for host in ["a.org", "localhost.a.org", "8.8.8.8", "8.8.2056", "1.a"] {
            assert!(may_reach(host, false), "{host}");
        }
        assert!(!may_reach("1.2.3.4.5", false), "the client refuses it");
    }
}
