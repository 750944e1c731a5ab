//! Typed reading: a [`View`] over an engine's snapshot, and the [`Store`] that hands them out, commits and wakes.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    Batch, CommitError, Committed, Direction, Engine, EngineView, Error, Hints, Position, Table,
    codec::{self, Part, ReadPart},
    hints::{Hint, Moment},
};

/// How many pairs a single scan of a view returns at most: longer ones go page by page.
pub const SCAN_LIMIT: usize = 10_000;

/// A consistent snapshot. A request reads everything from one view. Cheap to clone.
#[derive(Clone)]
pub struct View(pub(crate) Arc<dyn EngineView>, Moment);

impl View {
    /// Everything at or below this position is visible here, nothing above it.
    #[must_use]
    pub fn position(&self) -> Position {
        self.0.position()
    }

    /// A moment of this node before the view was opened, for [`crate::Moved::is_still`].
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.1
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// `Unavailable` if the engine cannot be reached, `Corrupt` if the record is not of the table's form.
    pub async fn get<K: Part, V: ReadPart>(
        &self,
        table: &Table<K, V>,
        key: impl Part,
    ) -> Result<Option<V>, Error> {
        let found = self.0.get(table.id(), &codec::encode(&key)).await?;
        found.map(|bytes| codec::decode(&bytes)).transpose()
    }

    /// The bytes at `key`, undecoded and unshared with the engine: for values that are passed through.
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn get_bytes<K: Part, V>(
        &self,
        table: &Table<K, V>,
        key: impl Part,
    ) -> Result<Option<Bytes>, Error> {
        self.0.get(table.id(), &codec::encode(&key)).await
    }

    /// The values at `keys`, in their order.
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn get_many<K: Part, V: ReadPart>(
        &self,
        table: &Table<K, V>,
        keys: impl IntoIterator<Item = impl Part>,
    ) -> Result<Vec<Option<V>>, Error> {
        let keys = keys.into_iter().map(|key| codec::encode(&key)).collect();
        let found = self.0.get_many(table.id(), keys).await?;
        found
            .into_iter()
            .map(|v| v.map(|bytes| codec::decode(&bytes)).transpose())
            .collect()
    }

    /// At most `limit` (and [`SCAN_LIMIT`]) records whose keys start with `prefix`: the leading parts of a key tuple.
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn scan_prefix<K: Part + ReadPart, V: ReadPart>(
        &self,
        table: &Table<K, V>,
        prefix: impl Part,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let low = codec::encode(&prefix);
        let high = after_prefix(&low);
        self.scan_bytes(table, low..high, direction, limit).await
    }

    /// At most `limit` (and [`SCAN_LIMIT`]) records with `range.start <= key < range.end`; the ends may be leading parts of a key tuple.
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn scan<K: Part + ReadPart, V: ReadPart, P: Part>(
        &self,
        table: &Table<K, V>,
        range: Range<P>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let bytes = codec::encode(&range.start)..codec::encode(&range.end);
        self.scan_bytes(table, bytes, direction, limit).await
    }

    async fn scan_bytes<K: ReadPart, V: ReadPart>(
        &self,
        table: &Table<K, V>,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let pairs = self
            .0
            .scan(table.id(), range, direction, limit.min(SCAN_LIMIT))
            .await?;
        pairs
            .iter()
            .map(|(k, v)| Ok((codec::decode(k)?, codec::decode(v)?)))
            .collect()
    }
}

/// The lowest key above all keys that start with `prefix`. Table keys never start with eight 0xFF bytes.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut high = prefix.to_vec();
    while let Some(last) = high.pop() {
        if last < 0xFF {
            high.push(last + 1);
            return high;
        }
    }
    vec![0xFF; 8]
}

/// The store of one node: an engine, and the hints that tell every node that its log moved. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
    hints: Arc<dyn Hints>,
}

impl Store {
    /// A store over `engine` that wakes through `hints`.
    pub fn new(engine: Arc<dyn Engine>, hints: Arc<dyn Hints>) -> Self {
        Self { engine, hints }
    }

    /// A snapshot of now; it contains every batch whose commit has returned.
    ///
    /// # Errors
    /// `Unavailable` if the engine cannot be reached.
    pub async fn view(&self) -> Result<View, Error> {
        let moment = self.hints.moved().now();
        let view = self.engine.view().await?;
        Ok(View(view, moment))
    }

    /// Applies `batch` whole or not at all; returns once it is durable, and wakes those whom it concerns.
    ///
    /// # Errors
    /// `Conflict` if an assertion does not hold: plan again from a new view, a bounded number of times.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let (topics, everywhere) = (batch.topics.clone(), batch.everywhere);
        let committed = self.engine.commit(batch).await?;
        if !topics.is_empty() {
            let hint = Hint {
                topics: topics.into(),
                position: committed.last(),
            };
            match everywhere {
                true => self.hints.publish_everywhere(hint).await,
                false => self.hints.publish(hint),
            }
        }
        Ok(committed)
    }

    /// Removes every record whose key starts with `prefix`: for what nothing refers to any more.
    ///
    /// # Errors
    /// `Unavailable` if the engine cannot be reached.
    pub async fn delete_prefix<K: Part, V>(
        &self,
        table: &Table<K, V>,
        prefix: impl Part,
    ) -> Result<(), Error> {
        let low = codec::encode(&prefix);
        let high = after_prefix(&low);
        self.engine.delete_range(table.id(), low..high).await
    }

    /// The seam of wake-ups and ephemeral state.
    #[must_use]
    pub fn hints(&self) -> &Arc<dyn Hints> {
        &self.hints
    }

    /// The engine, for what concerns all tables at once: backup, close.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}
