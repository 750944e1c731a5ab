//! Owns finding where a server is: by its name, its `.well-known` and its SRV records. Must never take the word of a
//! third party for it: what is found has to prove itself by its certificate.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#server-discovery>

use std::{sync::Arc, time::Duration};

use hearth_base::{Clock, Millis, Rng};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};

use super::{
    names::{Names, Service},
    web::Web,
    well_known::{self, Delegation},
};

/// The port of servers that name none.
const PORT: u16 = 8448;

/// How many servers are remembered.
const CACHED: usize = 10_000;

/// How long an SRV record, or that there is none, is believed.
const SERVICE_LIFETIME: Duration = Duration::from_secs(300);

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whose certificate it has to show; an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the `Host` header says.
    pub header: String,
    /// The host to connect to, if an SRV record names another.
    pub target: Option<String>,
}

/// Finds servers, and remembers where they were.
pub(crate) struct Discovery {
    names: Arc<dyn Names>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    delegations: Cache<OwnedServerName, Delegation>,
    services: Cache<String, (Vec<Service>, Millis)>,
}

impl Discovery {
    pub(crate) fn new(names: Arc<dyn Names>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self {
            names,
            clock,
            rng,
            delegations: Cache::new(CACHED),
            services: Cache::new(CACHED),
        }
    }

    /// The places where the server may be, in the order to try them.
    pub(crate) async fn find(&self, web: &Web, server: &ServerName) -> Vec<Destination> {
        if let Some(fixed) = fixed(server) {
            return vec![fixed];
        }
        match self.delegated(web, server).await {
            Some(delegated) => match fixed(&delegated) {
                Some(fixed) => vec![fixed],
                None => self.by_service(&delegated).await,
            },
            None => self.by_service(server).await,
        }
    }

    /// Where `.well-known` says that the server is.
    async fn delegated(&self, web: &Web, server: &ServerName) -> Option<OwnedServerName> {
        let now = self.clock.now();
        let known = self.delegations.get(server);
        if let Some(known) = &known
            && known.until > now
        {
            return known.to.clone();
        }
        let failures = known.map_or(0, |known| known.failures);
        let fresh = well_known::fetch(web, server, now, failures).await;
        let to = fresh.to.clone();
        self.delegations.insert(server.to_owned(), fresh);
        to
    }

    /// A host without a port: its services, or else the host itself.
    async fn by_service(&self, server: &ServerName) -> Vec<Destination> {
        let host = server.host();
        for kind in ["_matrix-fed._tcp", "_matrix._tcp"] {
            let services = self.services(&format!("{kind}.{host}")).await;
            // A single service at the root says that there is none.
            let offered = services.into_iter().filter(|s| !s.target.is_empty());
            let places: Vec<_> = offered
                .map(|service| Destination {
                    host: host.to_owned(),
                    port: service.port,
                    header: host.to_owned(),
                    target: Some(service.target),
                })
                .collect();
            if !places.is_empty() {
                return places;
            }
        }
        vec![Destination {
            host: host.to_owned(),
            port: PORT,
            header: host.to_owned(),
            target: None,
        }]
    }

    async fn services(&self, name: &str) -> Vec<Service> {
        let now = self.clock.now();
        if let Some((known, until)) = self.services.get(name)
            && until > now
        {
            return ordered(known, &*self.rng);
        }
        let found = match self.names.services(name).await {
            Ok(found) => found,
            Err(error) => {
                // As if there were none: whoever answers at the host's own port has to show the host's certificate.
                tracing::debug!(name, %error, "no service");
                Vec::new()
            }
        };
        let until = now.after(SERVICE_LIFETIME);
        self.services
            .insert(name.to_owned(), (found.clone(), until));
        ordered(found, &*self.rng)
    }
}

/// The place of a server whose name says all of it: an address, or a host with a port.
#[must_use]
pub fn fixed(server: &ServerName) -> Option<Destination> {
    if !server.is_ip_literal() && server.port().is_none() {
        return None;
    }
    Some(Destination {
        host: server.host().to_owned(),
        port: server.port().unwrap_or(PORT),
        header: server.as_str().to_owned(),
        target: None,
    })
}

/// The services in the order to try them: by priority, and among equals by chance, as their weights say.
pub fn ordered(mut services: Vec<Service>, rng: &dyn Rng) -> Vec<Service> {
    let mut keyed: Vec<_> = services
        .drain(..)
        .map(|service| {
            let chance = rng.number() % (u64::from(service.weight) * 16 + 1);
            ((service.priority, std::cmp::Reverse(chance)), service)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, service)| service).collect()
}

#[cfg(test)]
mod tests;
