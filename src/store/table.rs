//! Typed tables: what a crate declares to keep records. A new table touches no engine, a new engine no table.

use std::marker::PhantomData;

/// How a table is used, which decides how an engine lays it out (a column family of RocksDB, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Written once under a key without neighbours, read by exact key: events, state nodes.
    Immutable,
    /// Small records, read by key and rewritten often: accounts, room heads, devices.
    Records,
    /// Keys that are scanned in order, with small values: timelines, memberships, relations.
    Index,
    /// Appended at the end, read near the end, trimmed from the front: logs, to-device messages.
    Log,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Immutable, Self::Records, Self::Index, Self::Log];

    /// A short name for files and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Immutable => "immutable",
            Self::Records => "records",
            Self::Index => "index",
            Self::Log => "log",
        }
    }
}

/// Which table, for an engine. The number is part of the stored form and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// How it is used.
    pub family: Family,
    /// Unique over all families: 0–15 the store's own, 16–79 users, 80–159 rooms, 160–199 sync and client API, 200–255 later crates.
    pub number: u8,
}

/// A table with keys `K` and values `V`. Declared as a constant by the crate that owns its records.
pub struct Table<K, V> {
    id: TableId,
    name: &'static str,
    kinds: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// Declares a table.
    #[must_use]
    pub const fn new(number: u8, name: &'static str, family: Family) -> Self {
        Self {
            id: TableId { family, number },
            name,
            kinds: PhantomData,
        }
    }

    /// What the engines know it by.
    #[must_use]
    pub const fn id(&self) -> TableId {
        self.id
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}
