//! Reading: in place while the answer is in memory, on the readers' threads when it is not.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt as _;
use rocksdb::ErrorKind;
use tokio::sync::oneshot;

use super::{
    opened::{Opened, error, stored},
    readers::Readers,
    snapshot::{Still, Tier},
};
use crate::{Direction, EngineView, Error, Pairs, Position, Read, TableId};

/// How many values or pairs are read in place at most: an async worker has others to serve.
const IN_PLACE: usize = 512;

/// How many markers of deletion a scan in place steps over at most.
const SKIPPED: u64 = 1024;

/// A snapshot, and the threads for what is not in memory.
pub(super) struct RocksView {
    still: Arc<Still>,
    readers: Arc<Readers>,
    position: Position,
}

impl RocksView {
    /// A view of `db` as it is now, when its log ends at `position`.
    pub(super) fn now(db: Arc<Opened>, position: Position, readers: Arc<Readers>) -> Self {
        Self {
            still: Arc::new(Still::now(db)),
            readers,
            position,
        }
    }

    /// The database that it is of.
    pub(super) fn opened(&self) -> &Arc<Opened> {
        self.still.opened()
    }

    /// Has `job` done by a reader.
    fn later<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Still) -> Result<T, Error> + Send + 'static,
    ) -> Read<T> {
        let still = self.still.clone();
        let (reply, answer) = oneshot::channel();
        let queued = self.readers.submit(Box::new(move || {
            // Who asked may have gone away while this waited.
            if !reply.is_closed() {
                let done = job(&still);
                drop(still);
                drop(reply.send(done));
            }
        }));
        match queued {
            Ok(()) => Read::Later(
                async move {
                    answer.await.unwrap_or_else(|_| {
                        Err(Error::Unavailable("a read was given up".to_owned()))
                    })
                }
                .boxed(),
            ),
            Err(error) => Read::failed(error),
        }
    }
}

impl EngineView for RocksView {
    fn position(&self) -> Position {
        self.position
    }

    fn get(&self, table: TableId, key: &[u8]) -> Read<Option<Bytes>> {
        let key = stored(table, key);
        match get(&self.still, table, &key, Tier::Memory) {
            Ok(value) => Read::ready(value),
            Err(Miss::Disk) => self.later(move |still| {
                get(still, table, &key, Tier::Anywhere).map_err(Miss::into_error)
            }),
            Err(Miss::Failed(error)) => Read::failed(error),
        }
    }

    fn get_many(&self, table: TableId, keys: Vec<Vec<u8>>) -> Read<Vec<Option<Bytes>>> {
        let keys: Vec<_> = keys.iter().map(|key| stored(table, key)).collect();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys.iter().take(IN_PLACE) {
            match get(&self.still, table, key, Tier::Memory) {
                Ok(value) => found.push(value),
                Err(Miss::Disk) => break,
                Err(Miss::Failed(error)) => return Read::failed(error),
            }
        }
        if found.len() == keys.len() {
            return Read::ready(found);
        }
        self.later(move |still| {
            get_rest(still, table, &keys, &mut found)?;
            Ok(found)
        })
    }

    fn scan(
        &self,
        table: TableId,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> Read<Pairs> {
        let mut scan = Scan {
            table,
            range: stored(table, &range.start)..stored(table, &range.end),
            direction,
            limit,
            pairs: Pairs::new(),
        };
        match scan.go_on(&self.still, Tier::Memory) {
            Ok(true) => Read::ready(scan.pairs),
            Ok(false) | Err(Miss::Disk) => self.later(move |still| {
                scan.go_on(still, Tier::Anywhere)
                    .map_err(Miss::into_error)?;
                Ok(scan.pairs)
            }),
            Err(Miss::Failed(error)) => Read::failed(error),
        }
    }
}

/// Why a read gave no answer.
enum Miss {
    /// It is not in memory.
    Disk,
    Failed(Error),
}

impl Miss {
    /// Of a read that was allowed everywhere.
    fn into_error(self) -> Error {
        match self {
            Self::Disk => Error::Unavailable("a read of the disk was not finished".to_owned()),
            Self::Failed(error) => error,
        }
    }
}

impl From<rocksdb::Error> for Miss {
    fn from(e: rocksdb::Error) -> Self {
        match e.kind() {
            ErrorKind::Incomplete => Self::Disk,
            _ => Self::Failed(error(e)),
        }
    }
}

fn get(still: &Still, table: TableId, key: &[u8], tier: Tier) -> Result<Option<Bytes>, Miss> {
    let family = still.opened().family(table.family).map_err(Miss::Failed)?;
    let found = still
        .db()
        .get_pinned_cf_opt(family, key, still.reading(tier))?;
    Ok(found.map(|value| Bytes::copy_from_slice(&value)))
}

/// Reads the values of those of `keys` that `found` lacks at its end.
fn get_rest(
    still: &Still,
    table: TableId,
    keys: &[Vec<u8>],
    found: &mut Vec<Option<Bytes>>,
) -> Result<(), Error> {
    let family = still.opened().family(table.family)?;
    let reading = still.reading(Tier::Anywhere);
    while let Some(rest) = keys.get(found.len()..).filter(|rest| !rest.is_empty()) {
        let some = rest.iter().take(IN_PLACE);
        let values = still
            .db()
            .batched_multi_get_cf_opt(family, some, false, reading);
        for value in values {
            found.push(
                value
                    .map_err(error)?
                    .map(|value| Bytes::copy_from_slice(&value)),
            );
        }
    }
    Ok(())
}

/// A scan that may be begun in place and ended elsewhere.
struct Scan {
    table: TableId,
    /// What is still to be scanned, in stored keys.
    range: Range<Vec<u8>>,
    direction: Direction,
    /// How many pairs at most, those found already included.
    limit: usize,
    pairs: Pairs,
}

impl Scan {
    /// Goes on with the scan; false if there may be more than it is good to read in place.
    fn go_on(&mut self, still: &Still, tier: Tier) -> Result<bool, Miss> {
        if self.limit == self.pairs.len() || self.range.start >= self.range.end {
            return Ok(true);
        }
        let limit = match tier {
            Tier::Memory => self.limit.min(IN_PLACE),
            Tier::Anywhere => self.limit,
        };
        let done = self.collect(still, tier, limit);
        self.narrow();
        let ended = done?;
        Ok(ended || self.pairs.len() >= self.limit)
    }

    /// Collects pairs until there are `limit`; true if the range ended before.
    fn collect(&mut self, still: &Still, tier: Tier, limit: usize) -> Result<bool, Miss> {
        let family = still
            .opened()
            .family(self.table.family)
            .map_err(Miss::Failed)?;
        let mut scanning = still.scanning(tier);
        scanning.set_iterate_lower_bound(self.range.start.clone());
        scanning.set_iterate_upper_bound(self.range.end.clone());
        if tier == Tier::Memory {
            scanning.set_max_skippable_internal_keys(SKIPPED);
        }
        let mut iterator = still.db().raw_iterator_cf_opt(family, scanning);
        match self.direction {
            Direction::Forward => iterator.seek_to_first(),
            Direction::Backward => iterator.seek_to_last(),
        }
        while let Some((key, value)) = iterator.item() {
            // The first byte is the number of the table.
            let key = key.get(1..).unwrap_or_default();
            self.pairs
                .push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if self.pairs.len() >= limit {
                return Ok(false);
            }
            match self.direction {
                Direction::Forward => iterator.next(),
                Direction::Backward => iterator.prev(),
            }
        }
        iterator.status()?;
        Ok(true)
    }

    /// Takes out of the range what was found.
    fn narrow(&mut self) {
        let Some((last, _)) = self.pairs.last() else {
            return;
        };
        let mut last = stored(self.table, last);
        match self.direction {
            Direction::Forward => {
                last.push(0);
                self.range.start = last;
            }
            Direction::Backward => self.range.end = last,
        }
    }
}
