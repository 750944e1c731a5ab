//! Leases: which node does what must be done once.
//!
//! A lease is an assertion. Whoever holds it has its *epoch*, and each batch of the work under it asserts that: after
//! somebody else took the lease over, nothing of the former holder is applied any more, however late it comes.
//!
//! A holder renews by a beat, once a second. Whoever wants the lease watches: if the beat stands still for as long as
//! [`PATIENCE`] by the watcher's own clock, the holder is taken for dead. No two machines' clocks are compared, and a holder
//! that was only slow loses the lease, never its correctness.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{Batch, CommitError, Error, Family, Part, ReadPart, Reader, Store, Table, Writer};

/// Who holds a lease, and for the how many-th time it was taken.
const LEASES: Table<String, Lease> = Table::new(2, "leases", Family::Records);

/// Counts up while the holder lives.
const BEATS: Table<String, u64> = Table::new(3, "lease_beats", Family::Records);

/// How often a holder renews, and others look.
const EVERY: Duration = Duration::from_secs(1);

/// How long the beat may stand still. A holder is replaced within a second more.
const PATIENCE: Duration = Duration::from_secs(4);

/// How much later than an idle node one tries for a free lease, for each that it holds already: so they spread.
const MODESTY: Duration = Duration::from_millis(150);

/// Names a node of a cluster: random, new at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 8]);

/// Counts how many times a lease was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    epoch: Epoch,
    /// `None`: given back.
    holder: Option<NodeId>,
}

impl Part for Lease {
    fn write(&self, to: &mut Writer) {
        to.raw(&self.epoch.0.to_be_bytes());
        if let Some(holder) = self.holder {
            to.raw(&holder.0);
        }
    }
}

impl ReadPart for Lease {
    fn read(from: &mut Reader<'_>) -> Result<Self, Error> {
        let epoch = Epoch(u64::read(from)?);
        let holder = match from.0.is_empty() {
            true => None,
            false => Some(NodeId(<[u8; 8]>::read(from)?)),
        };
        Ok(Self { epoch, holder })
    }
}

/// A lease that is held, as far as its holder knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    name: Arc<str>,
    node: NodeId,
    epoch: Epoch,
}

impl Held {
    /// The epoch, which no other holder ever has.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// `batch` fails with a conflict if the lease is another's by then.
    pub fn assert(&self, batch: &mut Batch) {
        batch.assert_equals(&LEASES, &*self.name, self.record());
    }

    fn record(&self) -> Lease {
        Lease {
            epoch: self.epoch,
            holder: Some(self.node),
        }
    }
}

/// The leases of a node. Cheap to clone.
#[derive(Clone)]
pub struct Leases {
    store: Store,
    node: NodeId,
    /// How often a holder renews, and others look.
    every: Duration,
    /// How many this node holds.
    held: watch::Sender<usize>,
}

impl Leases {
    /// Those of the node `node` over `store`.
    #[must_use]
    pub fn new(store: Store, node: NodeId) -> Self {
        Self {
            store,
            node,
            every: EVERY,
            held: watch::Sender::new(0),
        }
    }

    /// Tries for the lease `name` from now on, renews it while it is held, and tries again when it is lost.
    ///
    /// Has to be called inside of a runtime.
    #[must_use]
    pub fn keep(&self, name: &str) -> Kept {
        let (told, state) = watch::channel(None);
        let (ending, end) = watch::channel(false);
        let keeper = Keeper {
            leases: self.clone(),
            name: name.into(),
            told,
            seen: None,
        };
        Kept {
            state,
            ending,
            task: tokio::spawn(keeper.run(end)),
        }
    }

    /// Who holds what, of those leases that are held.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn holders(&self) -> Result<Vec<(String, NodeId, Epoch)>, Error> {
        let view = self.store.view().await?;
        let all = view
            .scan_prefix(&LEASES, (), crate::Direction::Forward, crate::SCAN_LIMIT)
            .await?;
        let held = all.into_iter();
        Ok(held
            .filter_map(|(name, lease)| Some((name, lease.holder?, lease.epoch)))
            .collect())
    }
}

/// A lease that is tried for. Given up when dropped: others then wait until its beat stood still for long enough.
pub struct Kept {
    state: watch::Receiver<Option<Held>>,
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kept {
    /// The lease, whenever it is held; changes are told.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Option<Held>> {
        self.state.clone()
    }

    /// Waits until the lease is held.
    ///
    /// # Errors
    /// `Unavailable` if it never will be: the keeping was ended.
    pub async fn held(&self) -> Result<Held, Error> {
        let mut state = self.state.clone();
        let held = state.wait_for(Option::is_some).await;
        held.ok()
            .and_then(|held| held.clone())
            .ok_or_else(|| Error::Unavailable("the lease is no longer tried for".to_owned()))
    }

    /// Gives the lease back, so that another takes it at once.
    pub async fn give_back(mut self) {
        self.ending.send_replace(true);
        // Whatever happened to the task: the lease is not renewed any more.
        (&mut self.task).await.ok();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was last seen of a lease that somebody else holds, and since when.
#[derive(Clone, Copy)]
struct Seen {
    lease: Lease,
    beat: Option<u64>,
    since: Instant,
}

struct Keeper {
    leases: Leases,
    name: Arc<str>,
    told: watch::Sender<Option<Held>>,
    seen: Option<Seen>,
}

impl Keeper {
    async fn run(mut self, mut end: watch::Receiver<bool>) {
        let mut ticks = interval(self.leases.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the lease was last known to be ours.
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = end.wait_for(|end| *end) => break,
            }
            let held = self.told.borrow().clone();
            let tried = match &held {
                Some(held) => self
                    .renew(held)
                    .await
                    .map(|ours| ours.then(|| held.clone())),
                None => self.attempt().await,
            };
            match tried {
                Ok(now) => {
                    if now.is_some() {
                        renewed = Instant::now();
                    }
                    self.tell(now);
                }
                // Perhaps ours, perhaps not: in doubt it is not worked on. What is written all the same is asserted.
                Err(error) => {
                    tracing::debug!(%error, name = &*self.name, "a lease was not looked after");
                    if renewed.elapsed() > PATIENCE {
                        self.tell(None);
                    }
                }
            }
        }
        let held = self.told.borrow().clone();
        if let Some(held) = held {
            self.give_back(&held).await;
            self.tell(None);
        }
    }

    fn tell(&self, now: Option<Held>) {
        let mut had = false;
        let has = now.is_some();
        self.told.send_if_modified(|state| {
            had = state.is_some();
            let changed = *state != now;
            *state = now;
            changed
        });
        match (had, has) {
            (false, true) => {
                self.leases.held.send_modify(|held| *held += 1);
                tracing::info!(name = &*self.name, "this node has a lease");
            }
            (true, false) => {
                self.leases
                    .held
                    .send_modify(|held| *held = held.saturating_sub(1));
                tracing::info!(name = &*self.name, "this node no longer has a lease");
            }
            _ => {}
        }
    }

    /// Whether it is still ours, and the beat was moved on.
    async fn renew(&self, held: &Held) -> Result<bool, Error> {
        let mut batch = Batch::new();
        held.assert(&mut batch);
        let view = self.leases.store.view().await?;
        let beat = view.get(&BEATS, &*self.name).await?.unwrap_or(0);
        batch.put(&BEATS, &*self.name, beat.wrapping_add(1));
        self.commit(batch).await
    }

    /// Takes the lease if it is free, or its holder is dead.
    async fn attempt(&mut self) -> Result<Option<Held>, Error> {
        let view = self.leases.store.view().await?;
        let lease = view.get(&LEASES, &*self.name).await?;
        let beat = view.get(&BEATS, &*self.name).await?;
        if let Some(lease) = lease
            && lease.holder.is_some()
            && !self.stands_still(lease, beat)
        {
            return Ok(None);
        }
        let busy = u32::try_from(*self.leases.held.borrow()).unwrap_or(u32::MAX);
        sleep(MODESTY.saturating_mul(busy).min(self.leases.every / 2)).await;
        let held = Held {
            name: self.name.clone(),
            node: self.leases.node,
            epoch: Epoch(lease.map_or(0, |lease| lease.epoch.0) + 1),
        };
        let mut batch = Batch::new();
        // Of many who try one gets it; and not if the holder moved after all.
        batch.assert_unchanged(&LEASES, &*self.name, lease);
        batch.assert_unchanged(&BEATS, &*self.name, beat);
        batch.put(&LEASES, &*self.name, held.record());
        batch.put(&BEATS, &*self.name, beat.unwrap_or(0).wrapping_add(1));
        let taken = self.commit(batch).await?;
        self.seen = None;
        Ok(taken.then_some(held))
    }

    /// Whether the lease was seen like this for long enough.
    fn stands_still(&mut self, lease: Lease, beat: Option<u64>) -> bool {
        match self.seen {
            Some(seen) if (seen.lease, seen.beat) == (lease, beat) => {
                seen.since.elapsed() >= PATIENCE
            }
            _ => {
                let since = Instant::now();
                self.seen = Some(Seen { lease, beat, since });
                false
            }
        }
    }

    async fn give_back(&self, held: &Held) {
        let mut batch = Batch::new();
        held.assert(&mut batch);
        let free = Lease {
            epoch: held.epoch,
            holder: None,
        };
        batch.put(&LEASES, &*self.name, free);
        if let Err(error) = self.commit(batch).await {
            tracing::warn!(%error, name = &*self.name, "a lease was not given back: others wait a few seconds for it");
        }
    }

    /// Whether `batch` was applied; false on a conflict.
    async fn commit(&self, batch: Batch) -> Result<bool, Error> {
        match self.leases.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use tempfile::TempDir;

    use super::*;
    use crate::{
        MemoryHints,
        engines::rocksdb::{self, Options},
        suite::{COUNTERS, batch},
    };

    fn store(folder: &TempDir) -> Store {
        let engine = rocksdb::open(Options::at(folder.path())).unwrap();
        Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
    }

    /// Two nodes that look more often than usual.
    fn nodes(store: &Store) -> [Leases; 2] {
        [1, 2].map(|n| Leases {
            every: Duration::from_millis(20),
            ..Leases::new(store.clone(), NodeId([n; 8]))
        })
    }

    async fn beat(store: &Store) -> Option<u64> {
        let view = store.view().await.unwrap();
        view.get(&BEATS, "tail").await.unwrap()
    }

    async fn write(store: &Store, held: &Held) -> bool {
        let write = batch(|b| {
            held.assert(b);
            b.add(&COUNTERS, "work", 1);
        });
        match store.commit(write).await {
            Ok(_) => true,
            Err(CommitError::Conflict) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn one_holds_and_the_dead_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let [one, two] = nodes(&store);
        let first = one.keep("tail");
        let held = first.held().await.unwrap();
        assert!(write(&store, &held).await);
        let second = two.keep("tail");
        // Renewed many times over: nobody takes it, and its batches are applied all the while.
        for _ in 0..20 {
            let before = beat(&store).await;
            while beat(&store).await == before {
                tokio::task::yield_now().await;
            }
            assert!(second.state().borrow().is_none());
            assert!(write(&store, &held).await);
        }
        // Dead without a word.
        drop(first);
        let taken = second.held().await.unwrap();
        assert!(taken.epoch() > held.epoch());
        assert!(write(&store, &taken).await);
        assert!(!write(&store, &held).await, "the dead write nothing");
        let holders = two.holders().await.unwrap();
        assert_eq!(
            holders,
            [("tail".to_owned(), NodeId([2; 8]), taken.epoch())]
        );
    }

    #[tokio::test]
    async fn one_that_is_given_back_is_taken_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let [one, two] = nodes(&store);
        let first = one.keep("tail");
        let held = first.held().await.unwrap();
        let second = two.keep("tail");
        first.give_back().await;
        assert!(!write(&store, &held).await);
        let taken = second.held().await.unwrap();
        assert_eq!(taken.epoch(), Epoch(held.epoch().0 + 1));
        second.give_back().await;
        assert!(one.holders().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_many_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let kept: Vec<Kept> = (0..10)
            .map(|n| Leases::new(store.clone(), NodeId([n; 8])).keep("tail"))
            .collect();
        let states = kept.iter().map(|kept| Box::pin(kept.held()));
        let (held, ..) = futures_util::future::select_all(states).await;
        assert!(write(&store, &held.unwrap()).await);
        let count = kept.iter().filter(|kept| kept.state().borrow().is_some());
        assert_eq!(count.count(), 1);
        assert_eq!(
            Leases::new(store, NodeId([0; 8]))
                .holders()
                .await
                .unwrap()
                .len(),
            1
        );
    }
}
