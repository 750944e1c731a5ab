//! Hints and ephemeral state: what may be lost. In this process's memory for one node ([`MemoryHints`]), in a shared
//! service for many, behind the one seam [`Hints`].
//!
//! A hint says that the log moved for a topic. It may be lost, repeated or late: whoever waits also polls, slowly.
//! Ephemeral values (typing, user-interactive sessions, rate-limit counters) live for a while and are gone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::broadcast;

use crate::{Error, Position};

mod memory;
mod moved;
pub mod redis;
pub mod replay;
#[cfg(test)]
mod tests;

pub use memory::MemoryHints;
pub use moved::{Moment, Moved, TopicName};
pub use redis::RedisHints;
pub use replay::Replay;

/// After this long whatever a node remembers is read again although no hint has named it. Nothing should need that, as lost hints are
/// made good by [`Replay`] within about a second.
pub const FRESH: Duration = Duration::from_secs(600);

/// Whom a change concerns, as bytes that the domain chooses (a room, a user). The store does not look inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub Arc<str>);

impl Topic {
    /// The topic of `kind` (a letter) and identifier `id`.
    #[must_use]
    pub fn new(kind: char, id: &str) -> Self {
        let mut text = String::with_capacity(id.len() + 1);
        text.push(kind);
        text.push_str(id);
        Self(text.into())
    }

    /// The letter and the identifier; `None` for an empty topic.
    #[must_use]
    pub fn parts(&self) -> Option<(char, &str)> {
        let kind = self.0.chars().next()?;
        Some((kind, &self.0[kind.len_utf8()..]))
    }
}

/// The log moved to `position`, and that concerns `topics`. An ephemeral change has the position zero.
#[derive(Clone, Debug)]
pub struct Hint {
    /// Whom it concerns.
    pub topics: Arc<[Topic]>,
    /// Where the log is at least.
    pub position: Position,
}

impl Hint {
    /// This hint as bytes, for [`Hint::from_bytes`]: the position, then each topic with its length before it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.position.0.to_be_bytes().to_vec();
        for topic in &*self.topics {
            let length = u32::try_from(topic.0.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(topic.0.as_bytes());
        }
        bytes
    }

    /// The hint of `bytes`; `None` if they are not of that form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (position, mut bytes) = bytes.split_first_chunk::<8>()?;
        let mut topics = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (text, rest) = rest.split_at_checked(length)?;
            topics.push(Topic(std::str::from_utf8(text).ok()?.into()));
            bytes = rest;
        }
        bytes.is_empty().then(|| Self {
            topics: topics.into(),
            position: Position(u64::from_be_bytes(*position)),
        })
    }
}

/// How long an ephemeral value lives, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub u64);

/// Wake-ups and values that may be lost.
pub trait Hints: Send + Sync + 'static {
    /// Tells all nodes, this one included. Never blocks and never fails: a lost hint is allowed.
    fn publish(&self, hint: Hint);

    /// As [`Hints::publish`]; ready once the other nodes have taken it in, as far as they can be asked, or after half a second.
    fn publish_everywhere(&self, hint: Hint) -> BoxFuture<'static, ()> {
        self.publish(hint);
        async {}.boxed()
    }

    /// Tells this node alone, of what it learned another way.
    fn pass_on(&self, hint: Hint);

    /// Every hint from now on. A receiver that lags loses the oldest and must then assume that everything moved.
    fn subscribe(&self) -> broadcast::Receiver<Hint>;

    /// What this node has published or heard of lately.
    fn moved(&self) -> &Moved;

    /// Sets the ephemeral value at `key`.
    fn put(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<(), Error>>;

    /// The ephemeral value at `key`, while it lives.
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>>;

    /// The ephemeral values at `keys`, in their order, in one question.
    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Error>>;

    /// Removes and returns the ephemeral value at `key`: of many callers one gets it.
    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>>;

    /// Adds to the counter at `key` and returns its new value; it starts at zero and lives on from its first use. A key is
    /// a counter's or a value's, never both.
    fn add(
        &self,
        key: &str,
        delta: i64,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<i64, Error>>;

    /// Keys and values under a key prefix, unordered, a thousand at most. Cheap for keys `kind/id/rest` and the prefix
    /// `kind/id/`; others are searched for.
    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, Error>>;
}
