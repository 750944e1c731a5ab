//! A server without sockets: a store, the services over it, and the endpoints. Tests use it as it is.
//!
//! Owns the order in which things are made and closed. Must never read the configuration by itself: it is handed in.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use hearth_base::{
    Clock, Rng, SystemClock, SystemRng,
    config::{self, Config, RegistrationMode},
};
use hearth_client_api::{App, Notices, RateLimit, Registration, Services, Settings, Support};
use hearth_federation::{
    Federation,
    outbound::Outbound,
    reach::{DenyList, Names, Peers, SystemNames},
};
use hearth_protocol::{RoomVersion, SigningKey};
use hearth_rooms::{Policy, Rooms};
use hearth_store::{Replay, Store, leases::Leases};
use hearth_sync::Sync;
use hearth_users::Users;
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    Error, cluster, front,
    health::Health,
    pace::Pace,
    storage::{self, Opened},
    tls,
    upgrade::Schema,
};

/// A store and the services over it.
#[derive(Clone)]
pub struct Node {
    store: Store,
    rooms: Rooms,
    users: Users,
    sync: Sync,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    key: Arc<SigningKey>,
    health: Health,
    schema: Schema,
    /// The way to other servers, unless the operator wants none.
    peers: Option<Peers>,
    /// Makes lost hints good.
    _replay: Arc<Replay>,
}

/// What a server takes from outside, so that a test can hand in its own.
#[derive(Clone)]
pub struct Outside {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The names of the internet.
    pub names: Arc<dyn Names>,
    /// The form of records that the program claims.
    pub schema: Schema,
}

impl Default for Outside {
    /// The system's own.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            names: Arc::new(SystemNames::new()),
            schema: Schema::THIS,
        }
    }
}

impl Node {
    /// Opens the store that `config` names, or makes it, with the signing key.
    ///
    /// # Errors
    /// If another process has the store, it belongs to another server name, or a file cannot be used.
    pub async fn open(config: &Config, outside: Outside) -> Result<Self, Error> {
        let Outside {
            clock,
            rng,
            names,
            schema,
        } = outside;
        let Opened { store, key, replay } = storage::open(config, &clock, &rng, schema).await?;
        let name = config.server.name.clone();
        let key = Arc::new(key);
        let peers = match config.federation.enabled {
            true => Some(reach(config, &store, &clock, &rng, &key, names).await?),
            false => None,
        };
        // Half of it is the engine's, an eighth for smaller things.
        let memory = config.store.memory.0;
        let rooms = Rooms::new(
            store.clone(),
            clock.clone(),
            rng.clone(),
            key.clone(),
            name.clone(),
            hearth_rooms::Memory {
                events: memory / 4,
                states: memory / 8,
            },
        );
        if let Some(peers) = &peers {
            rooms.connect(Arc::new(peers.clone()));
        }
        if config.policy_server.enabled {
            rooms.serve_policy(policy(&config.policy_server, &key)?);
        }
        let users = Users::new(
            store.clone(),
            clock.clone(),
            rng.clone(),
            name,
            hearth_users::Limits {
                presence: config.presence.enabled,
                ..hearth_users::Limits::default()
            },
        );
        let health = Health::new(store.clone());
        let sync = Sync::new(store.clone(), rooms.clone(), users.clone(), clock.clone());
        Ok(Self {
            store,
            rooms,
            users,
            sync,
            clock,
            rng,
            key,
            health,
            schema,
            peers,
            _replay: replay,
        })
    }

    /// The endpoints and what surrounds them, as `config` says now.
    pub fn router(&self, config: &Config) -> Router {
        let app = self.app(config);
        let open_metrics = config.metrics.address.is_none();
        let mut endpoints = hearth_client_api::router(app);
        if let Some(peers) = &self.peers {
            let announced = config.federation.announced_server.as_ref();
            endpoints = endpoints.merge(hearth_federation::router(Federation::new(
                hearth_federation::Services {
                    peers: peers.clone(),
                    store: self.store.clone(),
                    rooms: self.rooms.clone(),
                    users: self.users.clone(),
                    clock: self.clock.clone(),
                    key: self.key.clone(),
                    announced: announced.map(ToString::to_string),
                },
            )));
        }
        front::surround(endpoints, &self.health, open_metrics)
    }

    /// What the endpoints for clients call.
    pub(crate) fn app(&self, config: &Config) -> App {
        App::new(Services {
            store: self.store.clone(),
            rooms: self.rooms.clone(),
            users: self.users.clone(),
            sync: self.sync.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            settings: self.settings(config),
        })
    }

    fn settings(&self, config: &Config) -> Settings {
        let mut settings = Settings::new(config.server.name.clone());
        settings.base_url.clone_from(&config.server.public_base_url);
        settings.support = Support {
            page: config.server.support_page.clone(),
            admin: config.server.admin_contact.clone(),
            security: config.server.security_contact.clone(),
        };
        settings.registration = match config.registration.mode {
            RegistrationMode::Closed => Registration::Closed,
            RegistrationMode::Token => Registration::Token,
            RegistrationMode::Open => Registration::Open,
        };
        settings.guests = config.registration.guests;
        let secret = config.registration.shared_secret.as_ref();
        settings.registration_shared_secret = secret.map(|secret| secret.reveal().to_owned());
        // The configuration was checked: another version does not get here.
        settings.default_room_version = RoomVersion::parse(config.rooms.default_version.as_str())
            .unwrap_or(settings.default_room_version);
        settings.notices = Notices {
            user: config.notices.user.clone(),
            name: config.notices.display_name.clone(),
        };
        settings.max_body_bytes = config.limits.request_body.0;
        let hints = self.store.hints();
        let shared = config.redis.url.is_some().then(|| hints.clone());
        let pace = Pace::of(&config.limits, self.clock.clone(), shared);
        settings.rate_limit = pace.map(|pace| pace as Arc<dyn RateLimit>);
        settings
    }

    /// Sends to other servers, as far as `leases` say that it is this node's work, until `stop` says so.
    pub(crate) async fn run(self, leases: Leases, stop: watch::Receiver<bool>) {
        if let Some(peers) = self.peers {
            Outbound::new(peers, self.store, self.rooms, self.users, &leases)
                .run(stop)
                .await;
        }
    }

    /// Enters this node among those over its store, as one that listens at `addresses`.
    pub(crate) async fn join(&self, addresses: &[SocketAddr]) -> Result<Leases, Error> {
        let (clock, rng) = (&*self.clock, &*self.rng);
        cluster::join(&self.store, clock, rng, addresses, self.schema).await
    }

    /// The accounts, for the operator's commands.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The rooms, for work in the background.
    #[must_use]
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether it is to be sent requests.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Lets every request that waits for news answer at once.
    pub(crate) fn end_waits(&self) {
        self.sync.close();
    }

    /// The time.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Randomness, for passwords that are made up.
    pub(crate) fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    /// Waits for running commits and closes the files.
    ///
    /// # Errors
    /// If the store cannot be closed cleanly; nothing acknowledged is lost by that.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.store.engine().close().await?)
    }
}

/// What this server says of events as a policy server, as the operator wants it.
fn policy(wanted: &config::PolicyServer, key: &SigningKey) -> Result<Policy, Error> {
    let (senders, words) = (&wanted.refuse_senders, &wanted.refuse_words);
    let key = key
        .for_policy()
        .map_err(|e| Error::refused(e.to_string()))?;
    Policy::new(key, senders, words, wanted.max_mentions).map_err(|e| {
        Error::refused(format!(
            "an expression in `policy_server.refuse_senders` or `refuse_words` cannot be understood: {e}"
        ))
    })
}

/// The way to other servers, as the operator wants it.
async fn reach(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
    key: &Arc<SigningKey>,
    names: Arc<dyn Names>,
) -> Result<Peers, Error> {
    let wanted = config.federation.clone();
    let mut settings = hearth_federation::reach::Settings::new(config.server.name.clone());
    settings.private_addresses = wanted.private_addresses;
    settings.deny = DenyList::new(wanted.deny);
    settings.notaries = wanted.key_servers;
    let (store, clock, rng, key) = (store.clone(), clock.clone(), rng.clone(), key.clone());
    let made = spawn_blocking(move || {
        if let Some(file) = &wanted.extra_ca_file {
            settings.extra_roots = tls::certificates(file)?;
        }
        Peers::new(settings, store, clock, rng, key, names)
            .map_err(|e| Error::refused(e.to_string()))
    });
    made.await
        .map_err(|e| Error::refused(format!("other servers cannot be reached: {e}")))?
}
