//! Owns the names of the internet: from a host to addresses and services. Must never decide whether an address may be
//! used.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#resolving-server-names>

use std::{net::IpAddr, time::Duration};

use futures_util::future::BoxFuture;
use hickory_resolver::{
    TokioResolver,
    config::{ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
    system_conf::read_system_conf,
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
        let built = read_system_conf().and_then(|(config, options)| build(config, options));
        Self(built.map_err(|e| NoName(format!("the system names no resolver: {e}"))))
    }
}

/// Several name servers are asked at once, and the first may know names that the others do not: that of a container's own
/// network, say, before that of the machine. So a name is not there if the first says so, or no one has it; however quick another
/// was to deny it.
fn build(system: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    let mut servers = system.name_servers().to_vec();
    for server in servers.iter_mut().skip(1) {
        server.trust_negative_responses = false;
    }
    let config =
        ResolverConfig::from_parts(system.domain().cloned(), system.search().to_vec(), servers);
    options.positive_max_ttl = Some(MAX_LIFETIME);
    options.negative_max_ttl = Some(MAX_LIFETIME);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use hickory_resolver::{
        config::NameServerConfig,
        proto::{
            op::{Message, ResponseCode},
            rr::{Record, rdata::A},
        },
    };
    use tokio::{net::UdpSocket, sync::watch};

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const FOUND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    /// A question that came in, with where its answer goes.
    async fn asked(socket: &UdpSocket) -> (Message, std::net::SocketAddr) {
        let mut bytes = [0; 512];
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        let message = Message::from_vec(&bytes[..length]).unwrap();
        (message.into_response(), from)
    }

    #[tokio::test]
    async fn a_name_that_one_of_two_servers_knows_is_found_though_the_other_denies_it_first() {
        let knows = UdpSocket::bind((HERE, 0)).await.unwrap();
        let denies = UdpSocket::bind((HERE, 0)).await.unwrap();
        let servers = [&knows, &denies].map(|socket| {
            let mut server = NameServerConfig::udp(HERE.into());
            server.connections[0].port = socket.local_addr().unwrap().port();
            server
        });
        let (denied, mut denials) = watch::channel(Vec::new());

        tokio::spawn(async move {
            loop {
                let (mut answer, from) = asked(&denies).await;
                answer.metadata.response_code = ResponseCode::NXDomain;
                denies
                    .send_to(&answer.to_vec().unwrap(), from)
                    .await
                    .unwrap();
                denied.send_modify(|kinds| kinds.push(answer.queries[0].query_type));
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut answer, from) = asked(&knows).await;
                let query = answer.queries[0].clone();
                // The other one has spoken already.
                denials
                    .wait_for(|kinds| kinds.contains(&query.query_type))
                    .await
                    .unwrap();
                if query.query_type == RecordType::A {
                    answer.add_answer(Record::from_rdata(query.name, 60, RData::A(A(FOUND))));
                }
                knows
                    .send_to(&answer.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
        });

        let config = ResolverConfig::from_parts(None, Vec::new(), servers.to_vec());
        let names = SystemNames(Ok(build(config, ResolverOpts::default()).unwrap()));
        assert_eq!(
            names.addresses("inside").await.unwrap(),
            [IpAddr::from(FOUND)]
        );
    }
}
