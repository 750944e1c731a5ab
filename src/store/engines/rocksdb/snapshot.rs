//! A snapshot that keeps its database open. The only unsafe code of the store lives here.

use std::sync::Arc;

use rocksdb::{DB, ReadOptions, ReadTier, Snapshot};

use super::opened::Opened;

/// The store as it was at one moment, for as long as this is kept.
pub(super) struct Still {
    /// Reads of this moment that may not touch the disk. Points to `snapshot`.
    in_memory: ReadOptions,
    /// Reads of this moment. Points to `snapshot`.
    anywhere: ReadOptions,
    /// Borrows from `db`. Fields drop in the order they are declared: this before what it borrows from.
    snapshot: Snapshot<'static>,
    db: Arc<Opened>,
}

impl Still {
    /// A snapshot of now.
    pub(super) fn now(db: Arc<Opened>) -> Self {
        let borrowed: Snapshot<'_> = db.db().snapshot();
        // SAFETY: only the lifetime changes. The snapshot borrows the `DB` inside the `Opened`, which is on the heap
        // and neither moves nor is dropped while `db`, an `Arc` to it, is kept beside the snapshot. The
        // snapshot is private, is never handed out with its false lifetime, and is dropped before `db`.
        #[allow(
            unsafe_code,
            reason = "a view owns its snapshot and what that borrows from"
        )]
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(borrowed) };
        let (mut in_memory, mut anywhere) = (ReadOptions::default(), ReadOptions::default());
        in_memory.set_snapshot(&snapshot);
        in_memory.set_read_tier(ReadTier::BlockCache);
        anywhere.set_snapshot(&snapshot);
        Self {
            in_memory,
            anywhere,
            snapshot,
            db,
        }
    }

    /// What the snapshot is of.
    pub(super) fn opened(&self) -> &Arc<Opened> {
        &self.db
    }

    /// The database, for reads with [`Still::reading`].
    pub(super) fn db(&self) -> &DB {
        self.db.db()
    }

    /// How to read a value of this moment.
    pub(super) fn reading(&self, tier: Tier) -> &ReadOptions {
        match tier {
            Tier::Memory => &self.in_memory,
            Tier::Anywhere => &self.anywhere,
        }
    }

    /// How to scan this moment, for the caller to set the bounds.
    pub(super) fn scanning(&self, tier: Tier) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        if tier == Tier::Memory {
            options.set_read_tier(ReadTier::BlockCache);
        }
        options
    }
}

/// Where a read may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// In memory alone: fails as incomplete rather than wait for the disk.
    Memory,
    /// Wherever it is.
    Anywhere,
}
