//! RocksDB: the engine of a single node.
//!
//! One thread, the committer, is the only writer: it drains a bounded queue, checks assertions, assigns positions and
//! writes each group of waiting batches with a single sync of the write-ahead log. After each group it makes a view, which all
//! who ask until the next one share. Reads are served in place while the answer is in memory and go to a few threads when it
//! is not, so that no async worker ever waits for the disk.
//!
//! A store is one folder with a column family for each [`crate::Family`]; a key is the number of its table, one byte,
//! and the key itself. This folder must never leak a type of RocksDB to its callers.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use self::{
    committer::{Committer, QUEUE, Request},
    opened::Place,
    readers::Readers,
};
use crate::{Batch, CommitError, Committed, Engine, EngineView, Error, Read, TableId};

mod backup;
mod committer;
mod opened;
mod readers;
mod snapshot;
#[cfg(test)]
mod tests;
mod tuning;
mod view;

pub use self::backup::restore;

/// Where a store is and how much it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder; made if missing.
    pub path: PathBuf,
    /// Bytes of memory for cached blocks and for what is not yet in sorted files, together.
    pub block_cache_bytes: usize,
    /// Whether a commit may return before it is on disk: after a loss of power, not a crash of the program, the last
    /// commits may then be missing (each of them wholly).
    pub relaxed: bool,
    /// How many threads read what is not in memory.
    pub readers: usize,
}

impl Options {
    /// A durable store at `path` that uses at most 64 MiB of memory and four threads for reads.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            block_cache_bytes: 64 << 20,
            relaxed: false,
            readers: 4,
        }
    }
}

/// What an engine did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were applied.
    pub commits: u64,
    /// Groups of batches that were written together.
    pub groups: u64,
    /// Syncs of the write-ahead log, as RocksDB itself counts them.
    pub syncs: u64,
}

/// An open store.
pub struct RocksEngine {
    place: Arc<Place>,
    queue: mpsc::Sender<Request>,
    committer: Option<thread::JoinHandle<()>>,
    /// Held while a backup runs: two at once would write the same files.
    backing_up: Arc<Mutex<()>>,
}

/// Opens the store at `options.path`, which only one process can do at a time; makes it if there is none.
/// Blocks while the write-ahead log is replayed, so not to be called on an async worker.
///
/// # Errors
/// `Unavailable` if the folder cannot be used (another process has it open, no permission, no space), `Corrupt` if
/// what is there cannot be read.
pub fn open(options: Options) -> Result<Arc<RocksEngine>, Error> {
    let readers = Arc::new(Readers::start(options.readers)?);
    let place = Arc::new(Place::open(options, readers)?);
    let (queue, requests) = mpsc::channel(QUEUE);
    let committer = Committer::new(place.clone(), requests);
    let committer = start("store-commit", move || committer.run())?;
    Ok(Arc::new(RocksEngine {
        place,
        queue,
        committer: Some(committer),
        backing_up: Arc::default(),
    }))
}

/// Waits for the committer, so that the files are closed when the engine is gone (or with its last view): whoever comes next can
/// open them, and a program that ends does not take RocksDB's globals away from a thread that still uses them.
impl Drop for RocksEngine {
    fn drop(&mut self) {
        // A committer that has ended has closed its queue. One whose queue is full is left to end by itself.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Request::End) {
            return;
        }
        if let Some(Err(_)) = self.committer.take().map(thread::JoinHandle::join) {
            tracing::error!("the thread that writes the store had panicked");
        }
    }
}

impl RocksEngine {
    /// What was done since [`open`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.place.counts()
    }
}

impl Engine for RocksEngine {
    fn view(&self) -> Read<Arc<dyn EngineView>> {
        match self.place.view() {
            Ok(view) => Read::ready(view),
            Err(error) => Read::failed(error),
        }
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let queue = self.queue.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let request = Request::Commit { batch, reply };
            queue.send(request).await.map_err(|_| closed())?;
            answer.await.unwrap_or_else(|_| Err(closed().into()))
        }
        .boxed()
    }

    fn delete_range(
        &self,
        table: TableId,
        range: Range<Vec<u8>>,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let queue = self.queue.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let request = Request::DeleteRange {
                table,
                range,
                reply,
            };
            queue.send(request).await.map_err(|_| closed())?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn backup(&self, target: &Path) -> BoxFuture<'static, Result<(), Error>> {
        let (place, target) = (self.place.clone(), target.to_owned());
        let backing_up = self.backing_up.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            start("store-backup", move || {
                let done = match backing_up.try_lock() {
                    Some(_running) => place.current().and_then(|db| backup::take(&db, &target)),
                    None => Err(Error::Unavailable("a backup is already running".to_owned())),
                };
                // Nobody waits any more: the backup is there all the same.
                drop(reply.send(done));
            })?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), Error>> {
        let queue = self.queue.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            if queue.send(Request::Close { reply }).await.is_ok() {
                // A second close that came too late finds the committer gone, which is what it asked for.
                answer.await.ok();
            }
            Ok(())
        }
        .boxed()
    }
}

fn closed() -> Error {
    Error::Unavailable("it is closed".to_owned())
}

/// Starts a named thread.
fn start(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread
        .spawn(body)
        .map_err(|e| Error::Unavailable(format!("no thread to be had: {e}")))
}
