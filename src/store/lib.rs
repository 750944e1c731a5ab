//! Hearth's store: one contract, several engines. Bytes below, types above.
//!
//! 1. A [`View`] is a consistent snapshot with `get`, `get_many` and half-open `scan` in both directions.
//! 2. A write is a value: a [`Batch`] collects puts, deletes, adds, assertions and appended positions.
//!    [`Store::commit`] applies all or nothing, and returns only when the data is durable.
//! 3. Whoever sees position p sees everything at or below p, forever, on every node.
//! 4. On [`CommitError::Conflict`] the domain code plans again from a new view, a bounded number of times.
//! 5. [`Hints`] tell other nodes that the log moved. They may be lost: every waiter also polls, slowly.
//!
//! The store knows neither rooms nor users. It must never return before a commit is durable, nor show part of one.

pub mod batch;
pub mod codec;
pub mod engine;
pub mod engines;
pub mod hints;
pub mod leases;
pub mod migrate;
mod read;
mod seen;
#[cfg(test)]
mod suite;
mod table;
mod view;

pub use batch::{Batch, Committed, Position, Slot};
pub use codec::{Json, Part, ReadPart, Reader, Writer};
pub use engine::{Direction, Engine, EngineView, Pairs};
pub use hints::{
    FRESH, Hint, Hints, Lifetime, MemoryHints, Moment, Moved, RedisHints, Replay, Topic, TopicName,
};
pub use read::Read;
pub use seen::Seen;
pub use table::{Family, Table, TableId};
pub use view::{SCAN_LIMIT, Store, View};

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Try later: the engine cannot be reached, is closing, or its disk is full.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A stored record is not what it should be. An alarm: restore from a backup.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}

/// Why a commit failed. In every case nothing of the batch was applied, except after `Unavailable`, where it may be
/// that all of it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// An assertion does not hold: plan again from a new view.
    #[error("the store changed in the meantime")]
    Conflict,
    /// Try later, from a new view.
    #[error(transparent)]
    Failed(#[from] Error),
}
