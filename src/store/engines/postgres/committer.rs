//! The one writer of this process: drains the queue, writes what waits in groups, answers once a group is committed.
//!
//! Other processes do the same; the lock on the head puts all groups into one order. A group that met a passing failure is
//! planned again from what is stored then, for a bounded time: nothing of it was written before, which was made sure of.

use std::{ops::Range, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    super::group::{GROUP, GROUP_BYTES, weight},
    Shared, closed,
    connection::Failure,
    tending::Tending,
    transaction::{GroupId, Outcomes, Sent, Session},
    view::Head,
};
use crate::{Batch, CommitError, Committed, Error, TableId};

/// How many requests wait at most; further callers wait to be let in.
pub(super) const QUEUE: usize = 1024;

/// How long a group goes on trying while the database cannot be reached. Once one has failed, each further one tries
/// once, until one succeeds: nobody is to wait in vain for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before a group is tried again, doubled each time up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// How often the past is looked after.
const TICK: Duration = Duration::from_secs(1);

/// What the committer is asked to do.
pub(super) enum Request {
    Commit {
        batch: Batch,
        reply: Reply,
    },
    DeleteRange {
        table: TableId,
        range: Range<Vec<u8>>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Hold {
        id: GroupId,
        change: HoldChange,
        reply: oneshot::Sender<Result<Head, Error>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What becomes of a hold on the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldChange {
    /// It is made at the version of now, or is still needed.
    Keep,
    /// It is no longer needed.
    Release,
}

type Reply = oneshot::Sender<Result<Committed, CommitError>>;

/// The writing task.
pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    session: Option<Session>,
    /// Names the groups of this process.
    instance: [u8; 8],
    groups: u64,
    /// The last group failed.
    failing: bool,
    tending: Tending,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        instance: [u8; 8],
    ) -> Self {
        let tending = Tending::new(shared.options.view_life);
        Self {
            shared,
            requests,
            session: None,
            instance,
            groups: 0,
            failing: false,
            tending,
        }
    }

    /// Works until the store is closed or dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = None;
        loop {
            let request = match next.take() {
                Some(request) => Some(request),
                None => tokio::select! {
                    request = self.requests.recv() => request,
                    _ = ticks.tick() => {
                        self.tend().await;
                        continue;
                    }
                },
            };
            match request {
                Some(Request::Commit { batch, reply }) => {
                    let (group, other) = self.gather(batch, reply);
                    next = other;
                    self.commit(group).await;
                }
                Some(Request::DeleteRange {
                    table,
                    range,
                    reply,
                }) => {
                    let done = self.delete_range(table, &range).await;
                    drop(reply.send(done));
                }
                Some(Request::Hold { id, change, reply }) => {
                    let done = self.hold(id, change).await;
                    drop(reply.send(done));
                }
                Some(Request::Close { reply }) => {
                    // Whoever is still in the queue finds its reply dropped: the store is closed.
                    drop(self.requests);
                    drop(self.session);
                    self.shared.close();
                    reply.send(()).ok();
                    return;
                }
                None => return,
            }
        }
    }

    /// The first batch and those that wait behind it; also the request that ended the group, if any did.
    fn gather(&mut self, batch: Batch, reply: Reply) -> (Vec<(Batch, Reply)>, Option<Request>) {
        let mut bytes = weight(&batch);
        let mut group = vec![(batch, reply)];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Commit { batch, reply }) => {
                    bytes += weight(&batch);
                    group.push((batch, reply));
                }
                Ok(other) => return (group, Some(other)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    async fn commit(&mut self, batches: Vec<(Batch, Reply)>) {
        let (batches, replies): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        match self.write(&batches).await {
            Ok(outcomes) => {
                let applied = outcomes.iter().filter(|one| one.is_ok()).count();
                self.shared.count(applied);
                for (reply, one) in replies.into_iter().zip(outcomes) {
                    drop(reply.send(one));
                }
            }
            Err(error) => {
                for reply in replies {
                    drop(reply.send(Err(error.clone().into())));
                }
            }
        }
    }

    /// Writes `batches` as one group; an outcome for each, or the error that all of them met.
    async fn write(&mut self, batches: &[Batch]) -> Result<Outcomes, Error> {
        let mut sent: Option<Sent> = None;
        let mut tries = self.tries();
        loop {
            let id = self.name();
            let tried = match self.session().await {
                Ok(session) => session.write(batches, id, &mut sent).await,
                Err(failure) => Err(failure),
            };
            match tried {
                Ok((outcomes, version)) => {
                    self.worked(version);
                    return Ok(outcomes);
                }
                Err(failure) => {
                    if sent.is_some() {
                        tries.in_doubt();
                    }
                    self.again(&mut tries, failure).await?;
                }
            }
        }
    }

    async fn delete_range(&mut self, table: TableId, range: &Range<Vec<u8>>) -> Result<(), Error> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut sent: Option<Sent> = None;
        let mut tries = self.tries();
        loop {
            let id = self.name();
            let tried = match self.session().await {
                Ok(session) => session.delete_range(table, range, id, &mut sent).await,
                Err(failure) => Err(failure),
            };
            match tried {
                Ok(version) => {
                    self.worked(Some(version));
                    return Ok(());
                }
                Err(failure) => self.again(&mut tries, failure).await?,
            }
        }
    }

    async fn hold(&mut self, id: GroupId, change: HoldChange) -> Result<Head, Error> {
        let mut tries = self.tries();
        loop {
            let tried = match self.session().await {
                Ok(session) => session.hold(&id, change).await,
                Err(failure) => Err(failure),
            };
            match tried {
                Ok(head) => {
                    self.worked(Some(head.version));
                    return Ok(head);
                }
                Err(failure) => self.again(&mut tries, failure).await?,
            }
        }
    }

    /// Looks after the past. Whatever fails is tried again at another time.
    async fn tend(&mut self) {
        if !self.tending.has_work(self.shared.seen.newest()) {
            return;
        }
        let mut tending = std::mem::take(&mut self.tending);
        let tried = match self.session().await {
            Ok(session) => tending.work(session).await,
            Err(failure) => Err(failure),
        };
        self.tending = tending;
        if let Err(failure) = tried {
            tracing::debug!(error = %failure.error, "the past of the store was not looked after");
            self.session = None;
        }
    }

    /// The session, new if the last one is gone.
    async fn session(&mut self) -> Result<&Session, Failure> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = None;
            let session = Session::open(&self.shared.target).await?;
            return Ok(self.session.insert(session));
        }
        // Always there: an error rather than a panic if it were not.
        self.session
            .as_ref()
            .ok_or_else(|| Failure::lasting(closed()))
    }

    fn name(&mut self) -> GroupId {
        self.groups += 1;
        let mut id = [0; 16];
        let (instance, number) = id.split_at_mut(8);
        instance.copy_from_slice(&self.instance);
        number.copy_from_slice(&self.groups.to_be_bytes());
        id
    }

    fn tries(&self) -> Tries {
        let now = Instant::now();
        Tries {
            until: if self.failing { now } else { now + PATIENCE },
            pause: PAUSE.0,
            doubted: false,
        }
    }

    fn worked(&mut self, version: Option<i64>) {
        if let Some(version) = version {
            self.shared.seen.note(version);
        }
        if self.failing {
            self.failing = false;
            tracing::info!("the database takes writes again");
        }
    }

    /// Pauses before another try, or gives up.
    async fn again(&mut self, tries: &mut Tries, failure: Failure) -> Result<(), Error> {
        // Whatever state the session was in: the next one begins afresh.
        self.session = None;
        if !failure.passing || Instant::now() + tries.pause > tries.until {
            if !self.failing {
                tracing::error!(error = %failure.error, "a write to the database failed");
            }
            self.failing = true;
            metrics::counter!("hearth_store_failed_writes_total").increment(1);
            return Err(failure.error);
        }
        metrics::counter!("hearth_store_groups_repeated_total").increment(1);
        tracing::debug!(error = %failure.error, "a group is tried again");
        sleep(tries.pause).await;
        tries.pause = (tries.pause * 2).min(PAUSE.1);
        Ok(())
    }
}

/// For how long something is tried.
struct Tries {
    until: Instant,
    pause: Duration,
    doubted: bool,
}

impl Tries {
    /// A commit was sent and not answered: it is worth waiting once more to know.
    fn in_doubt(&mut self) {
        if !self.doubted {
            self.doubted = true;
            self.until = Instant::now() + PATIENCE;
        }
    }
}
