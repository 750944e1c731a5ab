//! The one writer: drains the queue, writes what waits in groups, answers once a group is durable.

use std::{ops::Range, sync::Arc};

use rocksdb::WriteBatch;
use tokio::sync::{mpsc, oneshot};

use super::{
    super::group::{self, GROUP, GROUP_BYTES, Group, Stored, weight},
    opened::{Opened, Place, stored},
};
use crate::{Batch, CommitError, Committed, EngineView as _, Error, TableId};

/// How many requests wait at most; further callers wait to be let in.
pub(super) const QUEUE: usize = 1024;

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
    Close {
        reply: oneshot::Sender<()>,
    },
    /// The engine is dropped: what was queued before is written, nothing after.
    End,
}

type Reply = oneshot::Sender<Result<Committed, CommitError>>;

/// The writing thread.
pub(super) struct Committer {
    place: Arc<Place>,
    requests: mpsc::Receiver<Request>,
    /// A write failed: nothing may be written before the store is opened afresh.
    failed: bool,
}

impl Committer {
    pub(super) fn new(place: Arc<Place>, requests: mpsc::Receiver<Request>) -> Self {
        Self {
            place,
            requests,
            failed: false,
        }
    }

    /// Works until the store is closed or dropped.
    pub(super) fn run(mut self) {
        let mut next = None;
        while let Some(request) = next.take().or_else(|| self.requests.blocking_recv()) {
            match request {
                Request::Commit { batch, reply } => {
                    let (group, other) = self.gather(batch, reply);
                    next = other;
                    self.commit(group);
                }
                Request::DeleteRange {
                    table,
                    range,
                    reply,
                } => {
                    let done = self.delete_range(table, &range);
                    drop(reply.send(done));
                }
                Request::Close { reply } => {
                    // Whoever is still in the queue finds its reply dropped: the store is closed.
                    drop(self.requests);
                    self.place.close();
                    reply.send(()).ok();
                    return;
                }
                Request::End => return,
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

    fn commit(&mut self, batches: Vec<(Batch, Reply)>) {
        let (batches, replies): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        let outcome = self.write(batches);
        let applied = outcome
            .as_ref()
            .map_or(0, |done| done.iter().filter(|one| one.is_ok()).count());
        if applied > 0 {
            self.place.count(u64::try_from(applied).unwrap_or(u64::MAX));
        }
        // A conflict is told only now as well: before the group was written, a new view would not have shown what it
        // conflicted with, and planning again would have been in vain.
        match outcome {
            Ok(done) => {
                for (reply, one) in replies.into_iter().zip(done) {
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
    fn write(&mut self, batches: Vec<Batch>) -> Result<Vec<Result<Committed, CommitError>>, Error> {
        self.recover()?;
        let view = self.place.view()?;
        let opened = view.opened();
        let mut group = Group::begin(&**opened, view.position());
        let outcomes = batches.into_iter().map(|batch| group.add(batch)).collect();
        let plan = group.plan();
        let head = plan.head;
        let written = write(opened, plan);
        self.note(written)?;
        self.place.show(opened.clone(), head);
        Ok(outcomes)
    }

    fn delete_range(&mut self, table: TableId, range: &Range<Vec<u8>>) -> Result<(), Error> {
        if range.start >= range.end {
            return Ok(());
        }
        self.recover()?;
        let view = self.place.view()?;
        let opened = view.opened();
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            opened.family(table.family)?,
            stored(table, &range.start),
            stored(table, &range.end),
        );
        let written = opened.write(batch);
        self.note(written)?;
        self.place.show(opened.clone(), view.position());
        Ok(())
    }

    /// Remembers that a write failed.
    fn note(&mut self, written: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &written {
            self.failed = true;
            tracing::error!(%error, "a write to the store failed; nothing is written until it works again");
            metrics::counter!("hearth_store_failed_writes_total").increment(1);
        }
        written
    }

    fn recover(&mut self) -> Result<(), Error> {
        if self.failed {
            self.place.reopen()?;
            self.failed = false;
        }
        Ok(())
    }
}

impl Stored for &Opened {
    fn value(&self, (table, key): &group::Place) -> Result<Option<Vec<u8>>, Error> {
        Opened::value(self, *table, key)
    }
}

/// Writes what `plan` says, durably.
fn write(opened: &Opened, plan: group::Plan) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    for ((table, key), value) in plan.changes {
        let (family, key) = (opened.family(table.family)?, stored(table, &key));
        match value {
            Some(value) => batch.put_cf(family, key, value),
            None => batch.delete_cf(family, key),
        }
    }
    if plan.moved {
        let (family, key) = Opened::head_key();
        batch.put_cf(opened.family(family)?, key, plan.head.0.to_be_bytes());
    }
    if batch.is_empty() {
        return Ok(());
    }
    opened.write(batch)
}
