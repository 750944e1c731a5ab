//! Owns the names of the internet: from a host to addresses and services. Must never decide whether an address may be
//! used.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#resolving-server-names>

use std::{net::IpAddr, time::Duration};

use futures_util::future::BoxFuture;
use hickory_resolver::{
    TokioResolver,
    proto::rr::{RData, RecordType},
};

/// The most addresses and services of one name that are looked at.
const MAX_ANSWERS: usize = 16;

/// How long an answer is believed at most: a server that moves is found again soon, whatever its records said before.
const MAX_LIFETIME: Duration = Duration::from_secs(30);

/// Where a service of a name is (an SRV record).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower ones first.
    pub priority: u16,
    /// Among those of a priority, how often.
    pub weight: u16,
    /// The host.
    pub target: String,
    /// The port there.
    pub port: u16,
}

/// Why a name says nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoName(pub String);

/// Looks names up. A test hands in a table instead of the system's resolver.
pub trait Names: Send + Sync + 'static {
    /// The addresses of a host (A and AAAA, through CNAME).
    fn addresses(&self, host: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NoName>>;

    /// The services of a name such as `_matrix-fed._tcp.example.org`; empty if it has none.
    fn services(&self, name: &str) -> BoxFuture<'static, Result<Vec<Service>, NoName>>;

    /// Forgets the addresses of a host at which nobody was found.
    fn forget(&self, _host: &str) {}
}

/// The resolver that the system is configured with. It caches as the records allow, but not for long.
pub struct SystemNames(Result<TokioResolver, NoName>);

impl SystemNames {
    /// Reads the system's configuration. Without one, every look-up fails with the reason.
    #[must_use]
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.positive_max_ttl = Some(MAX_LIFETIME);
            options.negative_max_ttl = Some(MAX_LIFETIME);
            builder.build()
        });
        Self(built.map_err(|e| NoName(format!("the system names no resolver: {e}"))))
    }
}

impl Default for SystemNames {
    fn default() -> Self {
        Self::new()
    }
}

impl Names for SystemNames {
    fn addresses(&self, host: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NoName>> {
        let (resolver, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move {
            let found = resolver?.lookup_ip(host.as_str()).await;
            let found = found.map_err(|e| NoName(format!("{host}: {e}")))?;
            Ok(found.iter().take(MAX_ANSWERS).collect())
        })
    }

    fn services(&self, name: &str) -> BoxFuture<'static, Result<Vec<Service>, NoName>> {
        // With the dot at the end it is whole: no search domain is tried.
        let (resolver, name) = (self.0.clone(), format!("{name}."));
        Box::pin(async move {
            let found = match resolver?.lookup(name.as_str(), RecordType::SRV).await {
                Ok(found) => found,
                Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
                Err(error) => return Err(NoName(format!("{name}: {error}"))),
            };
            let services = found.answers().iter().filter_map(|record| {
                let RData::SRV(srv) = &record.data else {
                    return None;
                };
                Some(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    target: srv.target.to_utf8().trim_end_matches('.').to_owned(),
                    port: srv.port,
                })
            });
            Ok(services.take(MAX_ANSWERS).collect())
        })
    }

    fn forget(&self, host: &str) {
        if let Ok(resolver) = &self.0 {
            for kind in [RecordType::A, RecordType::AAAA] {
                resolver.clear_lookup_cache(host, kind);
            }
        }
    }
}
