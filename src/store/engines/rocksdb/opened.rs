//! The open database, and the place that holds it: opening, closing, reopening after a failure of the disk.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::RwLock;
use rocksdb::{ColumnFamily, DB, ErrorKind, WriteBatch, WriteOptions, statistics::Ticker};

use super::{Counts, Options, closed, readers::Readers, tuning, view::RocksView};
use crate::{Error, Family, Position, TableId};

/// The table of the store itself.
const STORE: TableId = TableId {
    family: Family::Records,
    number: 0,
};

/// The head of the log: a position. Absent in a new store.
pub(super) const HEAD: &[u8] = b"head";

/// The number of the stored form, one byte.
const FORM: &[u8] = b"form";

/// The stored form that this version reads and writes.
const FORM_NOW: u8 = 1;

/// How much must fit on the disk before a store that failed is opened again, in bytes.
const PROBE: usize = 1 << 20;

/// How often, and how many times, it is looked whether the last view of a database is gone.
const ALONE: (Duration, u32) = (Duration::from_millis(2), 2500);

/// The database of a folder, open.
pub(super) struct Opened {
    db: DB,
    /// Kept for its counters.
    options: rocksdb::Options,
    durable: WriteOptions,
}

impl Opened {
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.path)
            .map_err(|e| {
                Error::Unavailable(format!("cannot make {}: {e}", options.path.display()))
            })?;
        let (tuned, families) = tuning::tuned(options.block_cache_bytes);
        let db = DB::open_cf_descriptors(&tuned, &options.path, families).map_err(error)?;
        let mut durable = WriteOptions::default();
        durable.set_sync(!options.relaxed);
        let opened = Self {
            db,
            options: tuned,
            durable,
        };
        opened.check_form()?;
        Ok(opened)
    }

    fn check_form(&self) -> Result<(), Error> {
        match self.value(STORE, FORM)?.as_deref() {
            Some([FORM_NOW]) => Ok(()),
            Some(other) => Err(Error::Unavailable(format!(
                "its form {other:?} is not the {FORM_NOW} of this version"
            ))),
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(self.family(STORE.family)?, stored(STORE, FORM), [FORM_NOW]);
                self.write(batch)
            }
        }
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn family(&self, family: Family) -> Result<&ColumnFamily, Error> {
        self.db
            .cf_handle(family.name())
            .ok_or_else(|| Error::Corrupt(format!("the family {} is missing", family.name())))
    }

    /// The newest value at `key`. May wait for the disk.
    pub(super) fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let family = self.family(table.family)?;
        self.db.get_cf(family, stored(table, key)).map_err(error)
    }

    /// The newest head of the log. May wait for the disk.
    pub(super) fn head(&self) -> Result<Position, Error> {
        let found = self.value(STORE, HEAD)?;
        found.map_or(Ok(Position::ZERO), |bytes| crate::codec::decode(&bytes))
    }

    /// The stored key of the head of the log.
    pub(super) fn head_key() -> (Family, Vec<u8>) {
        (STORE.family, stored(STORE, HEAD))
    }

    /// Writes `batch` whole or not at all, durably unless the operator chose otherwise.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        self.db.write_opt(batch, &self.durable).map_err(error)
    }

    fn syncs(&self) -> u64 {
        self.options.get_ticker_count(Ticker::WalFileSynced)
    }
}

/// The key under which RocksDB keeps `key` of `table`, within the family of the table.
pub(super) fn stored(table: TableId, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(table.number);
    bytes.extend_from_slice(key);
    bytes
}

/// What a failure of RocksDB means to callers.
#[allow(
    clippy::needless_pass_by_value,
    reason = "stands where map_err hands the value over"
)]
pub(super) fn error(error: rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption => Error::Corrupt(error.into_string()),
        _ => Error::Unavailable(error.into_string()),
    }
}

/// Holds the newest view of the database of a folder, or nothing while it is closed.
pub(super) struct Place {
    options: Options,
    readers: Arc<Readers>,
    newest: RwLock<Option<Arc<RocksView>>>,
    commits: AtomicU64,
    groups: AtomicU64,
    /// Of databases that are closed by now.
    syncs: AtomicU64,
    /// The metrics of commits and of groups.
    told: [metrics::Counter; 2],
}

impl Place {
    pub(super) fn open(options: Options, readers: Arc<Readers>) -> Result<Self, Error> {
        let place = Self {
            options,
            readers,
            newest: RwLock::new(None),
            commits: AtomicU64::default(),
            groups: AtomicU64::default(),
            syncs: AtomicU64::default(),
            told: [
                metrics::counter!("hearth_store_commits_total"),
                metrics::counter!("hearth_store_groups_total"),
            ],
        };
        place.put(Arc::new(Opened::open(&place.options)?))?;
        Ok(place)
    }

    /// All that was written, until something else is.
    pub(super) fn view(&self) -> Result<Arc<RocksView>, Error> {
        self.newest.read().clone().ok_or_else(closed)
    }

    /// The database. Not to be kept for longer than a request: see [`Place::reopen`].
    pub(super) fn current(&self) -> Result<Arc<Opened>, Error> {
        Ok(self.view()?.opened().clone())
    }

    /// Has everybody see what is written by now, with which the log ends at `position`. Only for who writes.
    pub(super) fn show(&self, opened: Arc<Opened>, position: Position) {
        let view = Arc::new(RocksView::now(opened, position, self.readers.clone()));
        let old = self.newest.write().replace(view);
        drop(old);
    }

    fn put(&self, opened: Arc<Opened>) -> Result<(), Error> {
        let head = opened.head()?;
        self.show(opened, head);
        Ok(())
    }

    pub(super) fn count(&self, commits: u64) {
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        let [told_commits, told_groups] = &self.told;
        told_commits.increment(commits);
        told_groups.increment(1);
    }

    pub(super) fn counts(&self) -> Counts {
        let open = self
            .newest
            .read()
            .as_ref()
            .map_or(0, |v| v.opened().syncs());
        Counts {
            commits: self.commits.load(Ordering::Relaxed),
            groups: self.groups.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed) + open,
        }
    }

    /// After a failed write RocksDB takes no more of them, and what it holds in memory may be ahead of the disk. The
    /// remedy is to open the files afresh, once there is space again. Until then reads go on.
    ///
    /// # Errors
    /// `Unavailable` while the disk is still full, or views from before are still in use.
    pub(super) fn reopen(&self) -> Result<(), Error> {
        probe(&self.options.path)?;
        if let Some(old) = self.take() {
            if !alone(&old) {
                self.put(old)?;
                return Err(Error::Unavailable(
                    "reads from before a failure of the disk still run".to_owned(),
                ));
            }
            drop(old);
        }
        self.put(Arc::new(Opened::open(&self.options)?))?;
        tracing::warn!("the store is open again after a failure of the disk");
        Ok(())
    }

    /// Closes the files, or leaves that to the last view if one is still in use after five seconds.
    pub(super) fn close(&self) {
        let Some(old) = self.take() else { return };
        // Matters to a relaxed store only: everything else is on disk already.
        if let Err(error) = old.db.flush_wal(true) {
            tracing::error!(%error, "the end of the log of the store may not be on disk");
        }
        if !alone(&old) {
            tracing::warn!(
                "a view of the store is still in use, its files stay open until it is dropped"
            );
        }
    }

    fn take(&self) -> Option<Arc<Opened>> {
        let old = self.newest.write().take()?.opened().clone();
        self.syncs.fetch_add(old.syncs(), Ordering::Relaxed);
        Some(old)
    }
}

/// Waits a bounded time until nobody else holds `opened`. Nobody can take it up again: it is no longer in its place.
#[allow(
    clippy::disallowed_methods,
    reason = "on the committer's own thread, and an Arc tells nobody that it was dropped"
)]
fn alone(opened: &Arc<Opened>) -> bool {
    let (pause, times) = ALONE;
    for _ in 0..times {
        if Arc::strong_count(opened) == 1 {
            return true;
        }
        thread::sleep(pause);
    }
    false
}

/// Whether the disk takes data again.
fn probe(folder: &Path) -> Result<(), Error> {
    let path = folder.join("probe");
    let tried = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0x5A; PROBE])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    tried
        .and(removed)
        .map_err(|e| Error::Unavailable(format!("the disk takes no data: {e}")))
}
