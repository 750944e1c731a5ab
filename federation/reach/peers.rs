//! Owns [`Peers`]: what reaching other servers takes, shared by all who do. Must never know rooms or users.

use std::sync::Arc;

use hearth_base::{Clock, Millis, Rng};
use hearth_protocol::SigningKey;
use hearth_store::Store;
use ruma::{OwnedServerName, ServerName};
use rustls_pki_types::CertificateDer;
use tokio::sync::broadcast;

use crate::outbound::ephemeral::Ephemeral;

use super::{
    destinations::Destinations,
    discovery::Discovery,
    keyring::Keyring,
    names::Names,
    policy::DenyList,
    web::{NoWeb, Web},
};

/// How many news are kept for whoever sends.
const NEWS: usize = 1024;

/// What the operator decides about other servers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's name.
    pub server_name: OwnedServerName,
    /// Certificate authorities that are trusted beside the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Whether other servers may be in private networks.
    pub private_addresses: bool,
    /// With whom this server does not speak.
    pub deny: DenyList,
    /// Who is asked for the keys of servers that do not answer.
    pub notaries: Vec<OwnedServerName>,
}

impl Settings {
    /// The system's certificate authorities, public addresses only, nobody denied, no notary.
    #[must_use]
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            extra_roots: Vec::new(),
            private_addresses: false,
            deny: DenyList::default(),
            notaries: Vec::new(),
        }
    }
}

/// The way to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Peers(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) web: Web,
    pub(crate) discovery: Discovery,
    pub(crate) destinations: Destinations,
    pub(crate) keyring: Keyring,
    ephemeral: Ephemeral,
    news: broadcast::Sender<OwnedServerName>,
}

impl Peers {
    /// The way to other servers, whose names `names` looks up; requests are signed with `key`. Blocks: reads the system's
    /// certificate authorities.
    ///
    /// # Errors
    /// If the operator's certificates are none.
    pub fn new(
        settings: Settings,
        store: Store,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        key: Arc<SigningKey>,
        names: Arc<dyn Names>,
    ) -> Result<Self, NoWeb> {
        let web = Web::new(
            names.clone(),
            &settings.extra_roots,
            settings.private_addresses,
        )?;
        Ok(Self(Arc::new(Shared {
            web,
            discovery: Discovery::new(names, clock.clone(), rng),
            destinations: Destinations::new(store.clone(), clock.clone()),
            keyring: Keyring::new(),
            ephemeral: Ephemeral::default(),
            news: broadcast::channel(NEWS).0,
            settings,
            store,
            clock,
            key,
        })))
    }

    /// The servers to which there is something new to send, or that spoke again after a silence. A receiver that lags
    /// loses some and then looks at all.
    pub(crate) fn news(&self) -> broadcast::Receiver<OwnedServerName> {
        self.0.news.subscribe()
    }

    /// Tells whoever sends that there is something for the server.
    pub(crate) fn tell_news(&self, server: &ServerName) {
        // Nobody listens while nobody sends.
        self.0.news.send(server.to_owned()).ok();
    }

    /// What waits for servers and may be lost.
    pub(crate) fn ephemeral(&self) -> &Ephemeral {
        &self.0.ephemeral
    }

    /// Until when a server is left alone since it did not answer; a moment of the past if it is not.
    pub(crate) async fn left_alone_until(&self, server: &ServerName) -> Millis {
        self.0.destinations.until(server).await
    }

    /// Reads again how the server failed: another node may have heard of it.
    pub(crate) fn reconsider(&self, server: &ServerName) {
        self.0.destinations.reconsider(server);
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }
}
