//! Hints and ephemeral state: what may be lost. In this process's memory for one node ([`MemoryHints`]), in a shared
//! service for many, behind the one seam [`Hints`].
//!
//! A hint says that the log moved for a topic. It may be lost, repeated or late: whoever waits also polls, slowly.
//! Ephemeral values (typing, user-interactive sessions, rate-limit counters) live for a while and are gone.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use crate::{Error, Position};

mod memory;

pub use memory::MemoryHints;

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

/// How long an ephemeral value lives, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub u64);

/// Wake-ups and values that may be lost.
pub trait Hints: Send + Sync + 'static {
    /// Tells all nodes, this one included. Never blocks and never fails: a lost hint is allowed.
    fn publish(&self, hint: Hint);

    /// Every hint from now on. A receiver that lags loses the oldest and must then assume that everything moved.
    fn subscribe(&self) -> broadcast::Receiver<Hint>;

    /// Sets the ephemeral value at `key`.
    fn put(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<(), Error>>;

    /// The ephemeral value at `key`, while it lives.
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>>;

    /// Removes and returns the ephemeral value at `key`: of many callers one gets it.
    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>>;

    /// Adds to the counter at `key` and returns its new value; it starts at zero and lives on from its first use.
    fn add(
        &self,
        key: &str,
        delta: i64,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<i64, Error>>;

    /// Keys and values under a key prefix, unordered, a thousand at most.
    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, Error>>;
}
