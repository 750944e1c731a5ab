//! Owns what every endpoint may use. Must never hold per-request values.

use std::{ops::Deref, sync::Arc, time::Duration};

use hearth_base::{Clock, Rng};
use hearth_protocol::RoomVersion;
use hearth_rooms::Rooms;
use hearth_store::Store;
use hearth_sync::Sync;
use hearth_users::Users;
use ruma::OwnedServerName;

use crate::{keys::KnownKeys, limits::RateLimit};

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody, except through the administrator's shared secret.
    #[default]
    Closed,
    /// Whoever has a registration token.
    Token,
    /// Anybody.
    Open,
}

/// In whose name the server speaks to its users.
#[derive(Clone, Debug)]
pub struct Notices {
    /// The part of the user's name before the colon. Nobody else can take it.
    pub user: String,
    /// What that user, and the rooms in which it speaks, are called.
    pub name: String,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            user: "_server".to_owned(),
            name: "Server notices".to_owned(),
        }
    }
}

/// Whom people may turn to about this server.
#[derive(Clone, Debug, Default)]
pub struct Support {
    /// The address of a page.
    pub page: Option<String>,
    /// A Matrix user id or an e-mail address.
    pub admin: Option<String>,
    /// As the administrators', for reports of security problems.
    pub security: Option<String>,
}

/// What the operator decides about the endpoints.
#[derive(Clone)]
pub struct Settings {
    /// The name behind the colon of local identifiers.
    pub server_name: OwnedServerName,
    /// Where clients reach this server, for `/.well-known/matrix/client`; `None`: not announced.
    pub base_url: Option<String>,
    /// Announced at `/.well-known/matrix/support`.
    pub support: Support,
    /// Who may make an account.
    pub registration: Registration,
    /// Whether anybody gets an account without a name and a password, which may do little.
    pub guests: bool,
    /// The secret of `/_synapse/admin/v1/register`; `None`: that endpoint refuses.
    pub registration_shared_secret: Option<String>,
    /// In whose name the server speaks to its users.
    pub notices: Notices,
    /// The version of a room whose creator names none.
    pub default_room_version: RoomVersion,
    /// The longest request body in bytes.
    pub max_body_bytes: usize,
    /// How long a caller may take to send a whole request body.
    pub body_timeout: Duration,
    /// Slows callers down; `None`: nobody is.
    pub rate_limit: Option<Arc<dyn RateLimit>>,
}

impl Settings {
    /// Registration closed, rooms of the newest version, bodies up to 8 MiB within a minute, no rate limit.
    #[must_use]
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            base_url: None,
            support: Support::default(),
            registration: Registration::Closed,
            guests: false,
            registration_shared_secret: None,
            notices: Notices::default(),
            default_room_version: RoomVersion::ALL[RoomVersion::ALL.len() - 1],
            max_body_bytes: 8 * 1024 * 1024,
            body_timeout: Duration::from_secs(60),
            rate_limit: None,
        }
    }
}

/// What the endpoints call.
pub struct Services {
    /// For views and for batches that several crates fill.
    pub store: Store,
    /// The rooms.
    pub rooms: Rooms,
    /// The accounts.
    pub users: Users,
    /// What is new for a device.
    pub sync: Sync,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// What the operator decides.
    pub settings: Settings,
}

/// What every handler gets. Cheap to clone.
#[derive(Clone)]
pub struct App {
    services: Arc<Services>,
    /// The keys of users of other servers.
    pub(crate) known_keys: Arc<KnownKeys>,
}

impl App {
    /// The endpoints' share of a server.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self {
            services: Arc::new(services),
            known_keys: Arc::default(),
        }
    }
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}
