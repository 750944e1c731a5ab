//! Owns who is there: online, unavailable or offline, and what they say about it. Ephemeral, so it lives beside the store,
//! one record a user, and may be lost; each node keeps a copy of what it heard in its memory. Must never be written to
//! the log, nor cost more than a look into memory for a device that merely goes on syncing.
//!
//! A record says until when each device stays. What a user is follows from the record and the clock alone, so nodes agree
//! about who went away without telling each other. Changes are announced together, and the more users are online, the
//! further apart: see [`Users::announce_presence`]; the later it is noticed, too, that one has gone. Of very many the last who come
//! are not told of.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#presence>

mod board;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hearth_base::{Millis, Rng};
use hearth_store::{Hint, Hints, Lifetime, Position, Topic};
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::{
    Notify,
    broadcast::{self, error::TryRecvError},
};

use crate::{Error, Refusal, Users};

use board::Board;

/// How long a user stays after the last sync of a device was over.
const GRACE: Duration = Duration::from_secs(30);
/// How long a user stays who says so by hand and does not sync.
const BY_HAND: Duration = Duration::from_secs(60);
/// A record is written again when it lags behind by this much.
const LAG: Duration = Duration::from_secs(10);
/// After this long without a sign of life whoever is online counts as unavailable.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// For this long after a sign of life a user counts as active.
const ACTIVE: Duration = Duration::from_secs(60);
/// How long a record is kept after its user was last heard of, so that it can be told when that was.
const KEPT: Lifetime = Lifetime(24 * 60 * 60 * 1000);
/// How long what another server told of a user holds.
const TOLD: Duration = Duration::from_secs(30 * 60);
/// How many records of other nodes are read together.
const AT_ONCE: usize = 500;
/// In place of a device, for users of other servers.
const ELSEWHERE: &str = "";
/// Devices of one user whose presence is kept.
const MAX_DEVICES: usize = 8;
/// Bytes of a status message.
const MAX_MESSAGE_BYTES: usize = 1_024;
/// The letter of the topics of records; what follows is the node that wrote it, a space and the user.
const TOPIC: char = 'p';

/// A number that grows with every announcement; milliseconds since the epoch, or a little ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresenceStamp(pub u64);

/// Whether a user can be reached; the more so, the greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Availability {
    /// Not connected.
    #[default]
    Offline,
    /// Connected, but not there.
    Unavailable,
    /// There.
    Online,
}

impl Availability {
    /// The word for it in the specification.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unavailable => "unavailable",
            Self::Online => "online",
        }
    }

    /// What `word` means; nothing for an unknown one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Offline, Self::Unavailable, Self::Online];
        all.into_iter().find(|one| one.as_str() == word)
    }
}

/// What others are told of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether they can be reached.
    pub availability: Availability,
    /// What they say about it.
    pub message: Option<String>,
    /// The last sign of life; `None` if there was none lately.
    pub last_active: Option<Millis>,
}

impl Presence {
    /// How long ago the last sign of life was.
    #[must_use]
    pub fn last_active_ago(&self, now: Millis) -> Option<Duration> {
        self.last_active.map(|last| now.since(last))
    }

    /// Whether the user is there and gave a sign of life just now.
    #[must_use]
    pub fn is_active(&self, now: Millis) -> bool {
        let ago = self.last_active_ago(now);
        self.availability == Availability::Online && ago.is_some_and(|ago| ago < ACTIVE)
    }
}

/// What is known of a user: the record beside the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    stays: Vec<Stay>,
    message: Option<String>,
    last_active: Option<Millis>,
    /// The node that wrote it.
    #[serde(default)]
    by: String,
}

/// Until when a device is what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stay {
    device: OwnedDeviceId,
    availability: Availability,
    until: Millis,
}

impl Record {
    fn at(&self, now: Millis) -> Presence {
        let stays = self.stays.iter().filter(|stay| stay.until > now);
        let most = stays.map(|stay| stay.availability).max();
        // Another server tells by itself when its user has nothing to do.
        let is_ours = self.stay(ELSEWHERE.into()).is_none();
        let idle = is_ours && self.last_active.is_none_or(|last| now.since(last) >= IDLE);
        let availability = match most.unwrap_or_default() {
            Availability::Online if idle => Availability::Unavailable,
            other => other,
        };
        Presence {
            availability,
            message: self.message.clone(),
            last_active: self.last_active,
        }
    }

    /// When it may mean something else by itself.
    fn next_change(&self, now: Millis) -> Option<Millis> {
        let ends = self.stays.iter().map(|stay| stay.until);
        let idle = self.last_active.map(|last| last.after(IDLE));
        ends.chain(idle).filter(|at| *at > now).min()
    }

    fn stay(&self, device: &DeviceId) -> Option<&Stay> {
        self.stays.iter().find(|stay| stay.device == device)
    }

    fn set_stay(&mut self, new: Stay, now: Millis) {
        self.stays
            .retain(|stay| stay.device != new.device && stay.until > now);
        self.stays.push(new);
        if self.stays.len() > MAX_DEVICES {
            self.stays.remove(0);
        }
    }
}

/// What this node knows of who is there.
pub(crate) struct Presences {
    board: Mutex<Board>,
    /// By which other nodes tell of records.
    heard: Mutex<broadcast::Receiver<Hint>>,
    /// Tells this node's records from those of others.
    node: String,
    /// Rung when there is something to announce.
    bell: Arc<Notify>,
}

impl Presences {
    pub(crate) fn new(hints: &dyn Hints, rng: &dyn Rng) -> Self {
        Self {
            board: Mutex::default(),
            heard: Mutex::new(hints.subscribe()),
            node: rng.opaque(12),
            bell: Arc::default(),
        }
    }

    /// Of whom other nodes have written a record since this was last called.
    fn heard_of(&self) -> Vec<OwnedUserId> {
        let mut heard = self.heard.lock();
        let mut users = Vec::new();
        loop {
            let hint = match heard.try_recv() {
                Ok(hint) => hint,
                // What was lost comes again with the next sync of each user.
                Err(TryRecvError::Lagged(_)) => continue,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return users,
            };
            for topic in hint.topics.iter() {
                let Some((TOPIC, name)) = topic.parts() else {
                    continue;
                };
                if let Some((node, user)) = name.split_once(' ')
                    && node != self.node
                    && let Ok(user) = UserId::parse(user)
                {
                    users.push(user);
                }
            }
        }
    }
}

impl Users {
    /// Whether anybody's presence is kept here.
    #[must_use]
    pub fn has_presence(&self) -> bool {
        self.presences.is_some()
    }

    /// Takes in that a device syncs, and will for `stays`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_sync(
        &self,
        user: &UserId,
        device: &DeviceId,
        availability: Availability,
        stays: Duration,
    ) -> Result<(), Error> {
        let Some(presences) = &self.presences else {
            return Ok(());
        };
        let now = self.clock.now();
        let until = now.after(stays).after(GRACE);
        let stretch = {
            let mut board = presences.board.lock();
            if !board.takes(user) {
                return Ok(());
            }
            let is_fresh = |record: &&Record| {
                record.stay(device).is_some_and(|stay| {
                    stay.availability == availability && stay.until.after(LAG) >= until
                })
            };
            if board.record(user).filter(is_fresh).is_some() {
                return Ok(());
            }
            board.stretch()
        };
        let until = until.after(stretch);
        let mut record = self.newest_record(presences, user).await?;
        if availability == Availability::Online {
            record.last_active = Some(now);
        }
        let device = device.to_owned();
        let stay = Stay {
            device,
            availability,
            until,
        };
        record.set_stay(stay, now);
        self.write_presence(presences, user, record, false).await
    }

    /// Sets what others are told of a user, on behalf of one of their devices.
    ///
    /// # Errors
    /// `TooLarge` for a message that is too long; those of the store.
    pub async fn set_presence(
        &self,
        user: &UserId,
        device: &DeviceId,
        availability: Availability,
        message: Option<String>,
    ) -> Result<(), Error> {
        if message
            .as_ref()
            .is_some_and(|text| text.len() > MAX_MESSAGE_BYTES)
        {
            let reason = "the status message is too long";
            return Err(Error::refused(Refusal::TooLarge, reason));
        }
        let Some(presences) = &self.presences else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut record = self.newest_record(presences, user).await?;
        let until = record.stay(device).map_or(now, |stay| stay.until);
        let stay = Stay {
            device: device.to_owned(),
            availability,
            until: until.max(now.after(BY_HAND)),
        };
        record.set_stay(stay, now);
        record.message = message.filter(|text| !text.is_empty());
        if availability != Availability::Offline {
            record.last_active = Some(now);
        }
        self.write_presence(presences, user, record, true).await
    }

    /// What is known of a user, as far as any node has told, so that what another wrote is not undone.
    async fn newest_record(&self, presences: &Presences, user: &UserId) -> Result<Record, Error> {
        self.hear_nodes(presences).await?;
        let known = presences.board.lock().record(user).cloned();
        Ok(known.unwrap_or_default())
    }

    async fn write_presence(
        &self,
        presences: &Presences,
        user: &UserId,
        mut record: Record,
        by_hand: bool,
    ) -> Result<(), Error> {
        record.by.clone_from(&presences.node);
        let hints = self.store.hints();
        let bytes = serde_json::to_vec(&record).map_err(|error| {
            hearth_store::Error::Corrupt(format!("a presence does not serialise: {error}"))
        })?;
        hints.put(&key(user), Bytes::from(bytes), KEPT).await?;
        hints.publish(Hint {
            topics: [Topic::new(TOPIC, &format!("{} {user}", presences.node))].into(),
            position: Position::ZERO,
        });
        let now = self.clock.now();
        if presences.board.lock().put(user, record, by_hand, now) {
            presences.bell.notify_one();
        }
        Ok(())
    }

    /// Takes in what another server tells of one of its users; a message that is too long is left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn hear_presence(&self, user: &UserId, told: Presence) -> Result<(), Error> {
        let Some(presences) = &self.presences else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut record = Record::default();
        let stay = Stay {
            device: ELSEWHERE.into(),
            availability: told.availability,
            until: now.after(TOLD),
        };
        record.set_stay(stay, now);
        let short = |text: &String| !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES;
        record.message = told.message.filter(short);
        record.last_active = told.last_active;
        self.write_presence(presences, user, record, false).await
    }

    /// Whether it is for this node to tell other servers of a user who was announced: it wrote their last record.
    #[must_use]
    pub fn tells_presence(&self, user: &UserId) -> bool {
        let Some(presences) = &self.presences else {
            return false;
        };
        let board = presences.board.lock();
        let record = board.record(user);
        user.server_name() == self.server_name
            && record.is_some_and(|record| record.by == presences.node)
    }

    /// What others may be told of a user now.
    #[must_use]
    pub fn presence(&self, user: &UserId) -> Presence {
        let now = self.clock.now();
        let presences = self.presences.as_ref();
        let known = presences.and_then(|p| p.board.lock().record(user).map(|r| r.at(now)));
        known.unwrap_or_default()
    }

    /// The stamp of the last announcement.
    #[must_use]
    pub fn presence_stamp(&self) -> PresenceStamp {
        let presences = self.presences.as_ref();
        presences.map_or_else(PresenceStamp::default, |p| p.board.lock().stamp())
    }

    /// Whose change was announced after `stamp`, the latest first, `limit` at most.
    #[must_use]
    pub fn presence_changes(&self, stamp: PresenceStamp, limit: usize) -> Vec<OwnedUserId> {
        let presences = self.presences.as_ref();
        presences.map_or_else(Vec::new, |p| p.board.lock().changes(stamp, limit))
    }

    /// Rung when there is something to announce; absent where presence is not kept.
    #[must_use]
    pub fn presence_bell(&self) -> Option<Arc<Notify>> {
        Some(self.presences.as_ref()?.bell.clone())
    }

    /// How long it is until the next announcement is due. Each costs the more, the more users hear of it, so they come
    /// the more rarely, the more are online: at once for a few, every minute for ten thousand.
    #[must_use]
    pub fn presence_pause(&self) -> Duration {
        let now = self.clock.now();
        let presences = self.presences.as_ref();
        presences.map_or(Duration::MAX, |p| p.board.lock().pause(now))
    }

    /// Announces what changed since the last time: puts a stamp on it, from which on readers see it. Returns whose
    /// presence that is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn announce_presence(&self) -> Result<Vec<OwnedUserId>, Error> {
        let Some(presences) = &self.presences else {
            return Ok(Vec::new());
        };
        self.hear_nodes(presences).await?;
        let now = self.clock.now();
        Ok(presences.board.lock().announce(now))
    }

    /// Takes in what other nodes have written since this was last called.
    async fn hear_nodes(&self, presences: &Presences) -> Result<(), Error> {
        for users in presences.heard_of().chunks(AT_ONCE) {
            let keys = users.iter().map(|user| key(user)).collect();
            let found = self.store.hints().get_many(keys).await?;
            let now = self.clock.now();
            let mut board = presences.board.lock();
            for (user, bytes) in users.iter().zip(found) {
                let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
                if let Some(record) = record {
                    board.put(user, record, false, now);
                }
            }
        }
        Ok(())
    }
}

fn key(user: &UserId) -> String {
    format!("presence/{user}")
}

#[cfg(test)]
mod tests;
