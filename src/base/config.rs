//! The configuration: what can be set, its defaults, and where a setting came from.
//!
//! `conf/hearth.toml` documents every key and is compiled in as the reference: a test holds it and the structs below
//! together. Owns reading and judging; must never start anything or print a secret.
//!
//! | file | what |
//! |---|---|
//! | `layers.rs` | files, drop-in folder and environment, laid over each other |
//! | `reference.rs` | the keys there are, and the nearest one to a wrong one |
//! | `problem.rs` | what is wrong, where, and the remedy |
//! | `check.rs` | rules between keys |
//! | `values.rs` | sizes and secrets |

use std::{net::SocketAddr, path::PathBuf};

use ruma::{OwnedServerName, RoomVersionId, owned_server_name};
use serde::{Deserialize, Serialize};

mod check;
mod layers;
mod problem;
mod reference;
#[cfg(test)]
mod tests;
mod values;

pub use problem::{Problem, Problems};
pub use reference::REFERENCE;
pub use values::{Secret, Size};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this server is.
    pub server: Server,
    /// Where clients reach it.
    pub listen: Listen,
    /// Where Prometheus reaches it.
    pub metrics: Metrics,
    /// The database.
    pub store: Store,
    /// What joins several nodes.
    pub redis: Redis,
    /// Who may make an account.
    pub registration: Registration,
    /// What callers may use up.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
    /// Defaults of rooms.
    pub rooms: Rooms,
    /// In whose name the server speaks to its users.
    pub notices: Notices,
    /// Who is online.
    pub presence: Presence,
    /// Other servers.
    pub federation: Federation,
    /// What this server says of events in rooms that ask it.
    pub policy_server: PolicyServer,
}

/// Section `[server]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The part of identifiers after the colon.
    pub name: OwnedServerName,
    /// Announced at `/.well-known/matrix/client`.
    pub public_base_url: Option<String>,
    /// Announced at `/.well-known/matrix/support`, as are the contacts.
    pub support_page: Option<String>,
    /// A Matrix user id or an e-mail address.
    pub admin_contact: Option<String>,
    /// A Matrix user id or an e-mail address.
    pub security_contact: Option<String>,
    /// Made at the first start.
    pub signing_key_file: PathBuf,
    /// The socket of the command line.
    pub control_socket: PathBuf,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: owned_server_name!("localhost"),
            public_base_url: None,
            support_page: None,
            admin_contact: None,
            security_contact: None,
            signing_key_file: "data/signing.key".into(),
            control_socket: "data/control.sock".into(),
        }
    }
}

/// Section `[listen]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Addresses and ports.
    pub addresses: Vec<SocketAddr>,
    /// Addresses for HTTPS alone; with one of them, those of `addresses` speak HTTP.
    pub https_addresses: Vec<SocketAddr>,
    /// PEM file of the certificate chain; set together with the key or not at all.
    pub tls_certificate_file: Option<PathBuf>,
    /// PEM file of the private key.
    pub tls_key_file: Option<PathBuf>,
    /// Whether `X-Forwarded-For` is believed.
    pub behind_proxy: bool,
    /// Open connections at once, at least 1.
    pub max_connections: usize,
    /// Seconds for the head of a request, at least 1.
    pub header_timeout_seconds: u64,
    /// Seconds for which a server that was told to stop serves on, so that a balancer notices.
    pub drain_seconds: u64,
    /// Seconds for answers under way when the server stops.
    pub shutdown_timeout_seconds: u64,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 8008))],
            https_addresses: Vec::new(),
            tls_certificate_file: None,
            tls_key_file: None,
            behind_proxy: false,
            max_connections: 16_384,
            header_timeout_seconds: 15,
            drain_seconds: 0,
            shutdown_timeout_seconds: 20,
        }
    }
}

/// Section `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// A listener of its own; `None`: the loopback addresses of `[listen]`.
    pub address: Option<SocketAddr>,
}

/// Section `[store]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The folder of the database, unless `url` is set.
    pub path: PathBuf,
    /// The address of a PostgreSQL, for one node or many. After loading, also what `url_file` held.
    pub url: Option<Secret>,
    /// A file that holds the address.
    pub url_file: Option<PathBuf>,
    /// Connections to it that read, 1 to 1000; one more writes.
    pub connections: usize,
    /// What a commit waits for.
    pub durability: Durability,
    /// What is kept in memory of the store: half for blocks and what is not yet in files, half for events, states and
    /// smaller things.
    pub memory: Size,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: "data/store".into(),
            url: None,
            url_file: None,
            connections: 8,
            durability: Durability::Full,
            memory: Size(64 << 20),
        }
    }
}

/// Section `[redis]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Its address; `None`: this is the only node. After loading, also what `url_file` held.
    pub url: Option<Secret>,
    /// A file that holds the address.
    pub url_file: Option<PathBuf>,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Until it is on disk.
    Full,
    /// Until the operating system has it.
    Relaxed,
}

/// Section `[registration]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Who may make an account.
    pub mode: RegistrationMode,
    /// The secret of the registration endpoint for scripts. After loading, also what `shared_secret_file` held.
    pub shared_secret: Option<Secret>,
    /// A file that holds the secret.
    pub shared_secret_file: Option<PathBuf>,
    /// Lets mode `open` stand at an address that others can reach.
    pub open_to_everyone: bool,
    /// Whether there are guests.
    pub guests: bool,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody.
    #[default]
    Closed,
    /// Whoever has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// Section `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest body of a request.
    pub request_body: Size,
    /// Whether callers are slowed down.
    pub rate_limit: bool,
    /// Rate-limited requests a second, on average; at least 1.
    pub requests_per_second: u32,
    /// Rate-limited requests at once; at least 1.
    pub request_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: Size(8 << 20),
            rate_limit: true,
            requests_per_second: 10,
            request_burst: 100,
        }
    }
}

/// Section `[log]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::People,
            filter: "info,ruma_state_res=warn".to_owned(),
        }
    }
}

/// For whom the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines to read.
    People,
    /// A JSON object a line.
    Json,
}

/// Section `[rooms]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The version of new rooms.
    pub default_version: RoomVersionId,
    /// For how many days a room is kept that every user has left and forgotten.
    pub keep_forgotten_days: u32,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
            keep_forgotten_days: 28,
        }
    }
}

/// Section `[presence]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Presence {
    /// Whether users see of each other who is online.
    pub enabled: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Section `[notices]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notices {
    /// The part of a user's name before the colon.
    pub user: String,
    /// What that user and its rooms are called.
    pub display_name: String,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            user: "_server".to_owned(),
            display_name: "Server notices".to_owned(),
        }
    }
}

/// Section `[federation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Federation {
    /// Whether other servers are spoken with.
    pub enabled: bool,
    /// Announced at `/.well-known/matrix/server`.
    pub announced_server: Option<OwnedServerName>,
    /// With whom this server does not speak: names, or patterns with `*` and `?`.
    pub deny: Vec<String>,
    /// Whether other servers may be in private networks.
    pub private_addresses: bool,
    /// PEM file of certificate authorities that are trusted beside the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// Who is asked for the keys of servers that do not answer.
    pub key_servers: Vec<OwnedServerName>,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            enabled: true,
            announced_server: None,
            deny: Vec::new(),
            private_addresses: false,
            extra_ca_file: None,
            key_servers: Vec::new(),
        }
    }
}

/// Section `[policy_server]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyServer {
    /// Whether rooms can ask this server about events.
    pub enabled: bool,
    /// Regular expressions of user ids whose events are refused.
    pub refuse_senders: Vec<String>,
    /// Regular expressions of texts in the content of events that are refused.
    pub refuse_words: Vec<String>,
    /// How many users one event may mention.
    pub max_mentions: usize,
}

impl Default for PolicyServer {
    fn default() -> Self {
        Self {
            enabled: false,
            refuse_senders: Vec::new(),
            refuse_words: Vec::new(),
            max_mentions: 50,
        }
    }
}

impl Config {
    /// Reads the file, its drop-in folder and the given environment, and checks the whole. `file` absent: only the
    /// environment. Secrets named by `…_file` keys are read.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing.
    pub fn load(
        file: Option<&std::path::Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let (mut config, origins) = layers::read(file, environment)?;
        let mut problems = Vec::new();
        check::read_secrets(&mut config, &origins, &mut problems);
        check::rules(&config, &origins, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(problems))
        }
    }
}
