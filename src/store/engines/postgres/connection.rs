//! Connecting to the database: where it is, how it is spoken to, and what its failures mean.
//!
//! Must never let a password into an error or the log.

use std::{error::Error as _, time::Duration};

use tokio::task::AbortHandle;
use tokio_postgres::{
    Client, Config, NoTls,
    config::{SslMode, TargetSessionAttrs},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::statements;
use crate::Error;

/// How long a connection may take to be made, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(3);

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Single statements that change nothing.
    Reading,
    /// Groups.
    Writing,
}

/// Where the database is.
pub(super) struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    relaxed: bool,
}

impl Target {
    /// Reads an address as PostgreSQL's own tools take it, `postgres://user:password@host:port/database?sslmode=require`.
    pub(super) fn parse(url: &str, relaxed: bool) -> Result<Self, Error> {
        let mut config: Config = url.parse().map_err(|e| {
            Error::Unavailable(format!("the address of the database is wrong: {e}"))
        })?;
        config.application_name("hearth");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_hosts().len() > 1 {
            // Of several, the one that takes writes: what was acknowledged by it is what everybody must see.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => None,
            _ => Some(tls()?),
        };
        Ok(Self {
            config,
            tls,
            relaxed,
        })
    }

    /// A new session.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Line, Failure> {
        let line = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                Line::new(client, tokio::spawn(connection).abort_handle())
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                Line::new(client, tokio::spawn(connection).abort_handle())
            }
        };
        for setting in statements::SETTINGS {
            // Another database than PostgreSQL may not have it, and then does not need it.
            if let Err(error) = line.client.batch_execute(setting).await {
                tracing::debug!(%error, setting, "the database does not know a setting");
            }
        }
        if purpose == Purpose::Writing {
            line.client.batch_execute(statements::SETTING_IDLE).await?;
            if self.relaxed {
                line.client
                    .batch_execute(statements::SETTING_RELAXED)
                    .await?;
            }
        }
        Ok(line)
    }
}

/// Certificates are checked against those that the system trusts.
fn tls() -> Result<MakeRustlsConnect, Error> {
    let (tls, unreadable) = MakeRustlsConnect::with_native_certs().map_err(|errors| {
        Error::Unavailable(format!(
            "no certificate authorities to check with: {errors:?}"
        ))
    })?;
    for error in unreadable {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    Ok(tls)
}

/// A connection, and the task that carries it.
pub(super) struct Line {
    pub(super) client: Client,
    carrier: AbortHandle,
}

impl Line {
    fn new(client: Client, carrier: AbortHandle) -> Self {
        Self { client, carrier }
    }
}

/// Closes the connection, whatever runs on it: the database then undoes a transaction that was not committed.
impl Drop for Line {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// What went wrong with the database.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether it may be gone when the same is tried again on a new connection.
    pub(super) passing: bool,
}

impl Failure {
    /// Something that another try would not change.
    pub(super) fn lasting(error: Error) -> Self {
        Self {
            error,
            passing: false,
        }
    }

    /// No answer for too long.
    pub(super) fn late() -> Self {
        Self {
            error: Error::Unavailable("the database does not answer".to_owned()),
            passing: true,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let passing = error.code().is_none_or(passes);
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        let corrupt = error
            .code()
            .is_some_and(|c| [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(c));
        let error = match corrupt {
            true => Error::Corrupt(text),
            false => Error::Unavailable(text),
        };
        Self { error, passing }
    }
}

/// Whether what a code stands for passes: the connection or the server goes away, two transactions were in each other's
/// way, or the server was not the one that takes writes.
fn passes(code: &SqlState) -> bool {
    let code = code.code();
    let classes = ["08", "40", "57"];
    // Too many connections, no lock, a server that takes no writes (yet), a transaction that idled for too long, a version
    // that another group took.
    let codes = ["53300", "55P03", "25006", "25P03", "23505"];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&code)
}
