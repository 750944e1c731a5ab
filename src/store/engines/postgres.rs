//! PostgreSQL (and what speaks as it does): the engine of many nodes over one store.
//!
//! Each process has one committer, which writes what waits as one transaction under the lock on a single row: that row
//! holds the order of all groups, of every node, and with it the positions of the log. Reads go over a few shared
//! connections and hold none of them: a view is a version number, and what was replaced since is kept for a while. See
//! `view.rs` for why that is a snapshot, `transaction.rs` for what becomes of a group whose connection is lost, and
//! `statements.rs` for the tables. This folder must never leak a type of the client library to its callers.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use hearth_base::Rng;
use tokio::sync::{mpsc, oneshot};

use self::{
    committer::{Committer, QUEUE, Request},
    connection::Target,
    readers::Readers,
    view::{Heads, PostgresView},
};
use crate::{
    Batch, CommitError, Committed, Engine, EngineView, Error, Family, Read, TableId,
    hints::replay::{Concerned, Mark},
};

mod backup;
mod committer;
mod connection;
mod keys;
mod readers;
mod schema;
mod statements;
mod tending;
#[cfg(test)]
mod tests;
mod transaction;
mod view;

pub use self::backup::restore;

/// Where a store is and how much it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the database: `postgres://user:password@host:port/database`, with `?sslmode=require` for TLS.
    pub url: String,
    /// How many connections read at most; one more writes.
    pub connections: usize,
    /// Whether a commit may return before it is on disk: after a loss of power the last commits may then be missing.
    pub relaxed: bool,
    /// How long a view can be read from. What is replaced is kept for as long.
    pub view_life: Duration,
}

impl Options {
    /// A durable store at `url` with eight connections, whose views live for five minutes.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 8,
            relaxed: false,
            view_life: Duration::from_secs(300),
        }
    }
}

/// What an engine did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were applied.
    pub commits: u64,
    /// Groups of batches that were written together: as many transactions.
    pub groups: u64,
}

/// What the parts of an engine share.
struct Shared {
    options: Options,
    target: Arc<Target>,
    readers: Arc<Readers>,
    seen: Arc<Seen>,
    commits: AtomicU64,
    groups: AtomicU64,
}

impl Shared {
    fn count(&self, commits: usize) {
        if commits == 0 {
            return;
        }
        let commits = u64::try_from(commits).unwrap_or(u64::MAX);
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("hearth_store_commits_total").increment(commits);
        metrics::counter!("hearth_store_groups_total").increment(1);
    }

    fn close(&self) {
        self.readers.close();
    }
}

/// The newest version that this process knows of.
#[derive(Default)]
struct Seen(AtomicI64);

impl Seen {
    fn note(&self, version: i64) {
        self.0.fetch_max(version, Ordering::Relaxed);
    }

    fn newest(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An open store.
pub struct PostgresEngine {
    shared: Arc<Shared>,
    heads: Arc<Heads>,
    queue: mpsc::Sender<Request>,
    /// Names backups that run.
    rng: Arc<dyn Rng>,
}

/// Opens the store at `options.url`, as any number of processes can at a time; makes its tables if there are none.
///
/// Has to be called inside of a runtime, which must outlive the engine.
///
/// # Errors
/// `Unavailable` if the address is wrong, the database cannot be reached, or the tables are of another form.
pub async fn open(options: Options, rng: Arc<dyn Rng>) -> Result<Arc<PostgresEngine>, Error> {
    let target = Arc::new(Target::parse(&options.url, options.relaxed)?);
    schema::prepare(&target).await?;
    let readers = Arc::new(Readers::new(target.clone(), options.connections));
    let seen = Arc::new(Seen::default());
    let shared = Arc::new(Shared {
        target,
        readers: readers.clone(),
        seen: seen.clone(),
        commits: AtomicU64::default(),
        groups: AtomicU64::default(),
        options,
    });
    let (queue, requests) = mpsc::channel(QUEUE);
    let mut instance = [0; 8];
    rng.fill(&mut instance);
    tokio::spawn(Committer::new(shared.clone(), requests, instance).run());
    Ok(Arc::new(PostgresEngine {
        shared,
        heads: Arc::new(Heads::new(readers, seen)),
        queue,
        rng,
    }))
}

impl PostgresEngine {
    /// What was done since [`open`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            commits: self.shared.commits.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
        }
    }

    /// Makes, renews or releases a hold on the past, as a backup does.
    #[cfg(test)]
    async fn hold(
        &self,
        id: transaction::GroupId,
        change: committer::HoldChange,
    ) -> Result<view::Head, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Hold { id, change, reply };
        self.queue.send(request).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Engine for PostgresEngine {
    fn view(&self) -> Read<Arc<dyn EngineView>> {
        PostgresView::open(self.shared.readers.clone(), &self.heads)
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
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        let (queue, readers) = (self.queue.clone(), self.shared.readers.clone());
        backup::take(queue, readers, target.to_owned(), id).boxed()
    }

    fn concerned(&self, mark: Option<Mark>) -> Read<Option<Concerned>> {
        let (readers, heads) = (self.shared.readers.clone(), self.heads.clone());
        Read::Later(
            async move {
                match mark {
                    Some(mark) => view::concerned(&readers, mark).await.map(Some),
                    None => {
                        let head = heads.ask().await.unwrap_or_else(|_| Err(closed()))?;
                        Ok(Some(Concerned {
                            mark: Mark(u64::try_from(head.version).unwrap_or(0)),
                            ..Concerned::default()
                        }))
                    }
                }
            }
            .boxed(),
        )
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

/// The number of a table in the database; part of the stored form.
fn number(table: TableId) -> i16 {
    let family = match table.family {
        Family::Immutable => 0,
        Family::Records => 1,
        Family::Index => 2,
        Family::Log => 3,
    };
    family * 256 + i16::from(table.number)
}
