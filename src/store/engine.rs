//! The contract that an engine fulfils, in bytes. Typed access is built on top, in [`crate::View`] and
//! [`crate::Store`]; a new engine adds files under `engines/` and changes none outside its folder.

use std::{ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    Batch, CommitError, Committed, Error, Position, Read, TableId,
    hints::replay::{Concerned, Mark},
};

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the low end of the range.
    Forward,
    /// From the high end of the range.
    Backward,
}

/// Keys and values that a scan found, in its order.
pub type Pairs = Vec<(Bytes, Bytes)>;

/// A consistent snapshot of everything. Stays still however long it is kept, but keep it short: it pins storage, and an engine
/// may end one that is minutes old, whose reads then fail as unavailable.
pub trait EngineView: Send + Sync + 'static {
    /// The head of the log in this snapshot: everything at or below it is visible here, nothing above.
    fn position(&self) -> Position;

    /// The value at `key`.
    fn get(&self, table: TableId, key: &[u8]) -> Read<Option<Bytes>>;

    /// The values at `keys`, in their order.
    fn get_many(&self, table: TableId, keys: Vec<Vec<u8>>) -> Read<Vec<Option<Bytes>>>;

    /// At most `limit` pairs of the half-open `range`, starting at the end that `direction` names.
    fn scan(
        &self,
        table: TableId,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> Read<Pairs>;
}

/// A store of bytes with the promises of this crate's head.
pub trait Engine: Send + Sync + 'static {
    /// A snapshot of now. It contains every batch whose commit has returned, on whatever node.
    fn view(&self) -> Read<Arc<dyn EngineView>>;

    /// Applies `batch` whole or not at all, and returns once it is durable. Batches that wait at the same time share
    /// one sync. Positions are assigned without gaps and become visible in order.
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// Removes every key of the half-open `range`. Durable, but not atomic with anything else, and no
    /// assertion sees it half done: for what nothing refers to any more.
    fn delete_range(
        &self,
        table: TableId,
        range: Range<Vec<u8>>,
    ) -> BoxFuture<'static, Result<(), Error>>;

    /// Copies the store as of some moment during this call into the empty or earlier backup folder `target`, while
    /// it stays in use.
    fn backup(&self, target: &Path) -> BoxFuture<'static, Result<(), Error>>;

    /// Whom the commits after `mark` concerned, from whatever process, as far as is remembered; without a mark where to
    /// begin. `None` if no other process can write here, so that hints in memory tell everything.
    fn concerned(&self, _mark: Option<Mark>) -> Read<Option<Concerned>> {
        Read::ready(None)
    }

    /// Waits for running commits, then closes files. Commits after this fail as unavailable.
    fn close(&self) -> BoxFuture<'static, Result<(), Error>>;
}
