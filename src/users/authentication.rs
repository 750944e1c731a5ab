//! Owns the step from an access token to the session it stands for, and the cache of that. Must never store a token, only
//! its hash, nor let a revoked one live on in the cache.
//!
//! The cache is split in shards by token. A revocation wakes the topic of the token's shard; whoever looks up reads all
//! hints first, and an entry counts only if its shard has not moved since before the entry was read. Lost hints are made
//! good by [`FRESH`].
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#client-authentication>

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hearth_base::Millis;
use hearth_store::{
    Batch, FRESH, Family, Hint, Hints, Json, Part, ReadPart, Reader, Seen, Table, Topic, Writer,
};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::{Account, Error, Limits, Refusal, Users, account::ACCOUNTS, device::LAST_SEEN};

/// The last-seen time of a device is written at most this often.
const SEEN_EVERY: Duration = Duration::from_secs(600);
const SHARDS: usize = 1024;
/// The letter of the topics of shards.
const TOPIC: char = 's';

/// Hash of an access token to what it stands for.
pub(crate) const ACCESS_TOKENS: Table<Fingerprint, Json<AccessToken>> =
    Table::new(18, "access_tokens", Family::Records);

/// A device that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which of their devices.
    pub device_id: OwnedDeviceId,
    /// Whether they administer this server.
    pub admin: bool,
    /// Whether they are a guest.
    pub guest: bool,
    /// Whether they can do nothing at all for now.
    pub locked: bool,
    /// Whether they can only listen for now.
    pub suspended: bool,
}

/// An access token as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessToken {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    /// When it ceases; never, where the client cannot refresh it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Millis>,
    /// The tokens that this one replaces, which cease when it is first used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<Replaced>,
}

impl AccessToken {
    /// The same once it was used: the tokens that it replaces are gone.
    pub(crate) fn used(&self) -> Self {
        Self {
            replaces: None,
            ..self.clone()
        }
    }
}

/// A pair of tokens that are about to cease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub(crate) access: Option<Fingerprint>,
    pub(crate) refresh: Fingerprint,
}

/// The SHA-256 of a secret that is random enough to need no salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Fingerprint([u8; 32]);

/// The hash under which a token is kept.
pub(crate) fn fingerprint(token: &str) -> Fingerprint {
    Fingerprint(Sha256::digest(token.as_bytes()).into())
}

impl Fingerprint {
    fn shard(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % SHARDS
    }

    pub(crate) fn hex(&self) -> String {
        use std::fmt::Write as _;
        self.0
            .iter()
            .fold(String::with_capacity(64), |mut out, byte| {
                // Writing to a string does not fail.
                let _written = write!(out, "{byte:02x}");
                out
            })
    }
}

impl Part for Fingerprint {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
}

impl ReadPart for Fingerprint {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        Ok(Self(r.array()?))
    }
}

#[derive(Clone)]
struct Entry {
    session: Session,
    expires: Option<Millis>,
    read_at: Millis,
    generation: u64,
}

/// Sessions that were looked up lately.
pub(crate) struct Sessions {
    entries: Cache<Fingerprint, Entry>,
    generations: Vec<AtomicU64>,
    hints: Mutex<broadcast::Receiver<Hint>>,
}

impl Sessions {
    pub(crate) fn new(limits: &Limits, hints: &dyn Hints) -> Self {
        Self {
            entries: Cache::new(limits.cached_sessions),
            generations: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            hints: Mutex::new(hints.subscribe()),
        }
    }

    fn generation(&self, token: &Fingerprint) -> u64 {
        self.generations[token.shard()].load(Ordering::Acquire)
    }

    /// Takes in which shards moved.
    fn catch_up(&self) {
        let mut hints = self.hints.lock();
        loop {
            match hints.try_recv() {
                Ok(hint) => {
                    for topic in hint.topics.iter() {
                        self.moved(topic);
                    }
                }
                Err(TryRecvError::Lagged(_)) => {
                    for generation in &self.generations {
                        generation.fetch_add(1, Ordering::AcqRel);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn moved(&self, topic: &Topic) {
        if let Some((TOPIC, shard)) = topic.parts()
            && let Some(generation) = shard
                .parse::<usize>()
                .ok()
                .and_then(|shard| self.generations.get(shard))
        {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Makes every node read `token` again once the commit of `batch` is answered.
pub(crate) fn wake_shard(batch: &mut Batch, token: &Fingerprint) {
    batch.wake_everywhere(Topic::new(TOPIC, &token.shard().to_string()));
}

impl Users {
    /// The session of an access token; `None` if there is no such token.
    ///
    /// # Errors
    /// `UnknownToken` with a soft logout if it expired and the client can refresh it; those of the store.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Session>, Error> {
        let token = fingerprint(token);
        let now = self.clock.now();
        self.sessions.catch_up();
        let generation = self.sessions.generation(&token);
        if let Some(entry) = self.sessions.entries.get(&token)
            && entry.generation == generation
            && now.since(entry.read_at) < FRESH
        {
            refuse_expired(entry.expires, now)?;
            return Ok(Some(entry.session));
        }
        let view = self.store.view().await?;
        let Some(found) = view.get_seen(&ACCESS_TOKENS, token).await? else {
            return Ok(None);
        };
        refuse_expired(found.expires, now)?;
        let account = view.get(&ACCOUNTS, found.user.as_str()).await?;
        let account = account.map(|Json(account)| account);
        let is = |what: fn(&Account) -> bool| account.as_ref().is_some_and(what);
        if let Err(error) = self.note_seen(&view, &token, &found, now).await {
            // A store that cannot be written can still be read.
            tracing::warn!(%error, "the last use of a device was not noted");
        }
        // Afterwards, since this replaces the record that the note rests on.
        if let Err(error) = self.settle_refresh(&token, &found).await {
            tracing::warn!(%error, "a replaced pair of tokens lives on for now");
        }
        let session = Session {
            user_id: found.user.clone(),
            device_id: found.device.clone(),
            admin: is(|account| account.admin),
            guest: is(|account| account.guest),
            locked: is(|account| account.locked),
            suspended: is(|account| account.suspended),
        };
        let entry = Entry {
            session: session.clone(),
            expires: found.expires,
            read_at: now,
            generation,
        };
        self.sessions.entries.insert(token, entry);
        Ok(Some(session))
    }

    async fn note_seen(
        &self,
        view: &hearth_store::View,
        token: &Fingerprint,
        record: &Seen<AccessToken>,
        now: Millis,
    ) -> Result<(), Error> {
        let key = (record.user.as_str(), record.device.as_str());
        let seen = view.get(&LAST_SEEN, key).await?;
        if seen.is_some_and(|seen| now.since(Millis(seen)) < SEEN_EVERY) {
            return Ok(());
        }
        let mut batch = Batch::new();
        // A device that is being deleted must not come back as a time of last use.
        batch.assert_seen(&ACCESS_TOKENS, *token, record);
        batch.put(&LAST_SEEN, key, now.0);
        self.try_commit(batch).await?;
        Ok(())
    }
}

fn refuse_expired(expires: Option<Millis>, now: Millis) -> Result<(), Error> {
    if expires.is_some_and(|at| at <= now) {
        let kind = Refusal::UnknownToken { soft_logout: true };
        return Err(Error::refused(kind, "the access token has expired"));
    }
    Ok(())
}
