//! Owns what every part of this crate uses, and its limits. Must never hold the state of one request.

use std::{ops::Deref, sync::Arc, time::Duration};

use hearth_base::{Clock, Rng};
use hearth_store::{Batch, CommitError, Committed, Store};
use ruma::{OwnedServerName, OwnedUserId, UserId};

use crate::{Error, Refusal, authentication::Sessions, password::Passwords, presence::Presences};

/// How often a change is planned again after a conflict.
pub(crate) const ATTEMPTS: usize = 16;

/// What the crate may use at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many passwords are hashed at a time; each takes `password_memory_kib` and a thread.
    pub password_threads: usize,
    /// How many may wait for that; more are refused as busy.
    pub password_queue: usize,
    /// Memory of one hash.
    pub password_memory_kib: u32,
    /// Passes of one hash.
    pub password_passes: u32,
    /// How many sessions are kept in memory.
    pub cached_sessions: usize,
    /// How long an access token lives where the client can refresh it.
    pub access_token_lifetime: Duration,
    /// Devices of one user.
    pub devices: usize,
    /// Filters of one user.
    pub filters: usize,
    /// Bytes of one filter, pusher or piece of account data.
    pub record_bytes: usize,
    /// Whether it is kept who is online.
    pub presence: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            password_threads: 2,
            password_queue: 256,
            // As OWASP recommends for Argon2id.
            password_memory_kib: 19_456,
            password_passes: 2,
            cached_sessions: 20_000,
            access_token_lifetime: Duration::from_secs(3600),
            devices: 2_000,
            filters: 1_000,
            record_bytes: 4 * 1024 * 1024,
            presence: true,
        }
    }
}

/// The users of this server. Cheap to clone.
#[derive(Clone)]
pub struct Users(Arc<Inner>);

/// What [`Users`] shares.
pub struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) server_name: OwnedServerName,
    pub(crate) limits: Limits,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: Sessions,
    pub(crate) presences: Option<Presences>,
}

impl Deref for Users {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Users {
    /// The users of `server_name`, as kept in `store`.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        server_name: OwnedServerName,
        limits: Limits,
    ) -> Self {
        let sessions = Sessions::new(&limits, &**store.hints());
        let presences = limits
            .presence
            .then(|| Presences::new(&**store.hints(), &*rng));
        Self(Arc::new(Inner {
            passwords: Passwords::new(&limits),
            sessions,
            presences,
            store,
            clock,
            rng,
            server_name,
            limits,
        }))
    }

    /// The user of this server that a client names by localpart or whole. Our localparts are lower case, whatever was typed.
    ///
    /// # Errors
    /// `InvalidUsername` if no local user can have that name.
    pub fn local_user(&self, name: &str) -> Result<OwnedUserId, Error> {
        let invalid =
            || Error::refused(Refusal::InvalidUsername, "this cannot be a user name here");
        let localpart = match name.strip_prefix('@') {
            None => name,
            Some(rest) => {
                let (localpart, server) = rest.split_once(':').ok_or_else(invalid)?;
                if server != self.server_name.as_str() {
                    return Err(invalid());
                }
                localpart
            }
        };
        let localpart = localpart.to_lowercase();
        let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+');
        if localpart.is_empty() || !localpart.bytes().all(allowed) {
            return Err(invalid());
        }
        UserId::parse(format!("@{localpart}:{}", self.server_name)).map_err(|_| invalid())
    }

    /// Commits; `None` after a conflict, upon which the caller plans again.
    pub(crate) async fn try_commit(&self, batch: Batch) -> Result<Option<Committed>, Error> {
        match self.store.commit(batch).await {
            Ok(committed) => Ok(Some(committed)),
            Err(CommitError::Conflict) => Ok(None),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }
}
