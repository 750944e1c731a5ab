//! The suite: what every engine must do, written against the contract alone.
//!
//! An engine joins by implementing [`Subject`] in its own tests and calling each test of this folder through [`run`].
//! Nothing here may name an engine.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    Batch, Direction, Engine, EngineView, Error, Family, MemoryHints, Position, Store, Table,
    TableId,
};

pub(crate) mod commits;
pub(crate) mod durable;
pub(crate) mod kill;
pub(crate) mod log;
pub(crate) mod order;
pub(crate) mod records;

/// An engine under test, over a store of its own.
pub(crate) trait Subject: Send + Sync + Sized {
    /// An engine over a new store.
    async fn new() -> Self;

    /// The engine.
    fn engine(&self) -> Arc<dyn Engine>;

    /// The same store, closed and opened again.
    async fn reopened(self) -> Self;

    /// An engine over a new store with the content of the backup at `from`.
    async fn restored(from: &Path) -> Self;

    /// Whether restoring the backup at `from` over this store is refused.
    async fn refuses_restore(&self, from: &Path) -> bool;

    /// How often data was made durable so far; `None` if the engine cannot tell.
    fn syncs(&self) -> Option<u64>;

    /// The typed store over the engine.
    fn store(&self) -> Store {
        Store::new(self.engine(), Arc::new(MemoryHints::new(|| 0)))
    }
}

/// Records that are found by name.
pub(crate) const RECORDS: Table<String, Bytes> = Table::new(240, "suite records", Family::Records);

/// Neighbours.
pub(crate) const INDEX: Table<(String, u64), String> =
    Table::new(241, "suite index", Family::Index);

/// Things written once.
pub(crate) const IMMUTABLE: Table<[u8; 16], Bytes> =
    Table::new(242, "suite immutable", Family::Immutable);

/// A log.
pub(crate) const LOG: Table<Position, String> = Table::new(243, "suite log", Family::Log);

/// Counters.
pub(crate) const COUNTERS: Table<String, i64> = Table::new(244, "suite counters", Family::Records);

/// The positions at which things happened, by name.
pub(crate) const MOMENTS: Table<(String, Position), (Position, Position)> =
    Table::new(245, "suite moments", Family::Index);

/// Runs `test` on a new store, then removes what it wrote: the store is empty, or the engine left something behind.
pub(crate) async fn run<S: Subject>(test: impl AsyncFnOnce(S) -> S) {
    let subject = test(S::new().await).await;
    let engine = subject.engine();
    for table in [
        RECORDS.id(),
        INDEX.id(),
        IMMUTABLE.id(),
        LOG.id(),
        COUNTERS.id(),
        MOMENTS.id(),
    ] {
        engine.delete_range(table, everything()).await.unwrap();
    }
    let left = content(&subject).await;
    assert!(left.is_empty(), "the store is not empty: {left:?}");
    // Emptied for good, not from sight alone.
    let subject = subject.reopened().await;
    let left = content(&subject).await;
    assert!(left.is_empty(), "it came back: {left:?}");
    subject.engine().close().await.unwrap();
}

/// Everything of a store but its own records, by table and key.
pub(crate) async fn content(subject: &impl Subject) -> BTreeMap<(TableId, Bytes), Bytes> {
    let view = subject.engine().view().await.unwrap();
    content_of(&*view).await.unwrap()
}

async fn content_of(view: &dyn EngineView) -> Result<BTreeMap<(TableId, Bytes), Bytes>, Error> {
    let mut found = BTreeMap::new();
    for family in Family::ALL {
        // Below 16 are the store's own.
        for number in 16..=255 {
            let table = TableId { family, number };
            let pairs = view
                .scan(table, everything(), Direction::Forward, usize::MAX)
                .await?;
            found.extend(pairs.into_iter().map(|(k, v)| ((table, k), v)));
        }
    }
    Ok(found)
}

fn everything() -> std::ops::Range<Vec<u8>> {
    Vec::new()..vec![0xFF; 64]
}

/// A batch made in one expression.
pub(crate) fn batch(fill: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}
