//! A write is a value: a [`Batch`] collects what is to change and under which assertions. It is applied whole or
//! not at all by [`crate::Store::commit`]; nothing here touches a store.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{Part, Writer},
    hints::Topic,
    table::{Table, TableId},
};

/// A place in the order of all commits. Whoever sees position p sees everything at or below p, forever, on every node.
///
/// Inside a batch a position may be *pending*: it stands for the one that the commit will assign (see
/// [`Batch::position`]), and may be used in the keys and values of the same batch like any other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

/// Marks a pending position; real ones never reach it.
const PENDING: u64 = 1 << 63;

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// After everything that was or will be committed.
    pub const MAX: Self = Self(PENDING - 1);

    /// Which of its batch's pending positions this is; `None` for an assigned one.
    #[must_use]
    pub fn slot(self) -> Option<Slot> {
        (self.0 & PENDING != 0)
            .then_some(Slot(u32::try_from(self.0 & !PENDING).unwrap_or(u32::MAX)))
    }

    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the pending positions of a batch, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// One change, in bytes.
#[derive(Clone, Debug)]
pub enum Write {
    /// Sets a value. Its key and value may wait for positions.
    Put {
        /// Of which table.
        table: TableId,
        /// The key.
        key: Writer,
        /// The value.
        value: Writer,
    },
    /// Removes a key; no error if it is absent.
    Delete {
        /// Of which table.
        table: TableId,
        /// The key.
        key: Vec<u8>,
    },
    /// Adds to a signed 64-bit big-endian counter, which is zero while absent. Commutes: never conflicts.
    Add {
        /// Of which table.
        table: TableId,
        /// The key.
        key: Vec<u8>,
        /// How much.
        delta: i64,
    },
}

/// What must hold at the moment of the commit, or nothing is applied.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// Of which table.
    pub table: TableId,
    /// The key.
    pub key: Vec<u8>,
    /// The value it must have; `None`: it must be absent.
    pub expected: Option<Vec<u8>>,
}

/// A set of changes that are applied together, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What must hold.
    pub assertions: Vec<Assertion>,
    /// What changes, in order: a later write to a key wins.
    pub writes: Vec<Write>,
    /// How many positions the commit has to assign.
    pub slots: u32,
    /// Whom to wake after the commit.
    pub topics: Vec<Topic>,
    /// Whether the commit is answered only once the other nodes have heard of it.
    pub everywhere: bool,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a commit of this would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.assertions.is_empty() && self.slots == 0
    }

    /// Reserves the next position of the log: pending here, assigned by the commit, in the order of these calls.
    pub fn position(&mut self) -> Position {
        let slot = self.slots;
        self.slots += 1;
        Position(PENDING | u64::from(slot))
    }

    /// Sets `key` to `value`.
    pub fn put<K: Part, V: Part>(&mut self, table: &Table<K, V>, key: impl Part, value: impl Part) {
        let (mut k, mut v) = (Writer::default(), Writer::default());
        key.write(&mut k);
        value.write(&mut v);
        self.writes.push(Write::Put {
            table: table.id(),
            key: k,
            value: v,
        });
    }

    /// Appends `value` to a log and returns its (pending) position.
    pub fn append<V: Part>(&mut self, log: &Table<Position, V>, value: impl Part) -> Position {
        let position = self.position();
        self.put(log, position, value);
        position
    }

    /// Removes `key`, if there.
    pub fn delete<K: Part, V: Part>(&mut self, table: &Table<K, V>, key: impl Part) {
        self.writes.push(Write::Delete {
            table: table.id(),
            key: crate::codec::encode(&key),
        });
    }

    /// Adds `delta` to the counter at `key`.
    pub fn add<K: Part>(&mut self, table: &Table<K, i64>, key: impl Part, delta: i64) {
        self.writes.push(Write::Add {
            table: table.id(),
            key: crate::codec::encode(&key),
            delta,
        });
    }

    /// The commit fails with a conflict unless `key` is absent.
    pub fn assert_absent<K: Part, V: Part>(&mut self, table: &Table<K, V>, key: impl Part) {
        let key = crate::codec::encode(&key);
        self.assertions.push(Assertion {
            table: table.id(),
            key,
            expected: None,
        });
    }

    /// The commit fails with a conflict unless `key` has exactly this value.
    pub fn assert_equals<K: Part, V: Part>(
        &mut self,
        table: &Table<K, V>,
        key: impl Part,
        value: impl Part,
    ) {
        let (key, value) = (crate::codec::encode(&key), crate::codec::encode(&value));
        self.assertions.push(Assertion {
            table: table.id(),
            key,
            expected: Some(value),
        });
    }

    /// The commit fails with a conflict unless `key` is as it was read: that value, or absent.
    pub fn assert_unchanged<K: Part, V: Part>(
        &mut self,
        table: &Table<K, V>,
        key: impl Part,
        seen: Option<impl Part>,
    ) {
        match seen {
            Some(value) => self.assert_equals(table, key, value),
            None => self.assert_absent(table, key),
        }
    }

    /// Wakes whoever waits for `topic`, after the commit.
    pub fn wake(&mut self, topic: Topic) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }

    /// As [`Batch::wake`], for what no node may believe any longer: the commit returns once all nodes have heard, as far as they
    /// can be asked, or after half a second.
    pub fn wake_everywhere(&mut self, topic: Topic) {
        self.wake(topic);
        self.everywhere = true;
    }

    /// Adds everything of `other`, whose pending positions must not have been mixed with ours.
    ///
    /// The pending positions of `other` come after ours: those that its caller still holds no longer name them.
    pub fn merge(&mut self, other: Self) {
        let shift = self.slots;
        let moved = other.writes.into_iter().map(|mut write| {
            if let Write::Put { key, value, .. } = &mut write {
                for patch in key.patches.iter_mut().chain(value.patches.iter_mut()) {
                    patch.slot.0 += shift;
                }
            }
            write
        });
        self.writes.extend(moved);
        self.assertions.extend(other.assertions);
        self.slots += other.slots;
        self.everywhere |= other.everywhere;
        for topic in other.topics {
            self.wake(topic);
        }
    }
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of slot 0; the head of the log at that moment if the batch held none.
    pub first: Position,
    /// How many positions were assigned.
    pub count: u32,
}

impl Committed {
    /// The assigned position that `pending` stood for; an assigned one is returned as it is.
    #[must_use]
    pub fn resolve(&self, pending: Position) -> Position {
        pending
            .slot()
            .map_or(pending, |slot| Position(self.first.0 + u64::from(slot.0)))
    }

    /// The last position of this commit: whoever sees it sees the whole batch.
    #[must_use]
    pub fn last(&self) -> Position {
        Position(self.first.0 + u64::from(self.count.saturating_sub(1)))
    }
}
