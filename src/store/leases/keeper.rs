//! Owns the task that keeps a node among the living: it beats, watches the others' beats, takes what is free and hands over
//! what is too much. Must never tell of a lease that it cannot vouch for: after [`Tempo::patience`] without a beat that
//! was written, everybody may have been told otherwise.
//!
//! [`Tempo::patience`]: super::Tempo

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Epoch, Held, Lease, NodeId, Shared,
    roster::{BEATS, Entry, LEASES, NODES, Roster},
};
use crate::{Batch, CommitError, Error, Hint, Json, Topic};

/// The letter of the topic that says that a lease is free or a node came or went.
const TOPIC: char = 'l';

/// The beat that was last seen of another node, and since when.
#[derive(Clone, Copy)]
struct Seen {
    beat: Option<u64>,
    since: Instant,
}

/// The task's state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    hints: broadcast::Receiver<Hint>,
    seen: BTreeMap<NodeId, Seen>,
    /// Since when a lease is free that another one should have taken.
    neglected: BTreeMap<String, Instant>,
    /// When everything was last seen.
    looked: Option<Instant>,
    /// Before the last beat that was written.
    renewed: Option<Instant>,
    /// Whether the last look came to its end; else there will be another soon.
    is_done: bool,
    /// Told to be over, and to be given back with the next look.
    parting: BTreeSet<String>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let hints = shared.store.hints().subscribe();
        Self {
            shared,
            hints,
            seen: BTreeMap::new(),
            neglected: BTreeMap::new(),
            looked: None,
            renewed: None,
            is_done: false,
            parting: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let tempo = self.shared.tempo;
        let mut ticks = interval(tempo.look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = self.shared.ending.subscribe();
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                _ = end.wait_for(|end| *end) => break,
                _ = ticks.tick(), if shared.has_others || !self.is_done => {}
                () = shared.bell.notified() => {}
                () = told(&mut self.hints) => {}
            }
            let done = timeout(tempo.patience, self.look()).await;
            let done = done.unwrap_or_else(|_| Err(Error::Unavailable("no answer".to_owned())));
            self.is_done = done.is_ok();
            if let Err(error) = done {
                tracing::debug!(%error, "the leases were not looked after");
            }
            self.doubt();
        }
        self.leave().await;
    }

    /// Whether what this node holds is certainly its own.
    fn is_sure(&self) -> bool {
        let patience = self.shared.tempo.patience;
        !self.shared.has_others || self.renewed.is_some_and(|at| at.elapsed() < patience)
    }

    /// Perhaps ours, perhaps not: in doubt it is not worked on. What is written all the same is asserted.
    fn doubt(&self) {
        if !self.is_sure() {
            self.tell(&BTreeMap::new());
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let roster = Roster::read(&self.shared.store.view().await?).await?;
        let now = Instant::now();
        let tempo = self.shared.tempo;
        // Whoever was away itself cannot tell how long others stood still.
        if self.looked.is_some_and(|at| at.elapsed() > tempo.look * 3) {
            self.seen.clear();
            self.neglected.clear();
        }
        self.looked = Some(now);
        self.beat(&roster, now).await?;
        if self.shared.has_others {
            self.bury(&roster, now).await?;
        }
        let mut roster = Roster::read(&self.shared.store.view().await?).await?;
        if self.part(&roster).await? | self.take(&roster).await? {
            roster = Roster::read(&self.shared.store.view().await?).await?;
        }
        let surplus = roster.surplus(self.shared.node, &self.suspects());
        self.parting = surplus.into_iter().collect();
        let held = roster.of(self.shared.node);
        let held = held.filter(|(name, _)| !self.parting.contains(*name));
        let held = held.map(|(name, lease)| (name.to_owned(), lease.epoch));
        if self.is_sure() {
            self.tell(&held.collect());
        }
        Ok(())
    }

    /// Gives a sign of life, if it is time; enters the node if it is not there.
    async fn beat(&mut self, roster: &Roster, now: Instant) -> Result<(), Error> {
        let node = self.shared.node;
        let entry = Entry {
            about: self.shared.about.clone(),
            wants: self.wanted(),
        };
        let there = roster.nodes.get(&node);
        let beat = roster.beats.get(&node).copied();
        let is_as_wanted = there == Some(&entry);
        let is_due = self.shared.has_others
            && self.renewed.is_none_or(|at| {
                now.duration_since(at) + self.shared.tempo.look / 2 >= self.shared.tempo.beat
            });
        if is_as_wanted && !is_due && self.renewed.is_some() {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.assert_unchanged(&NODES, node.0, there.map(|entry| Json(entry.clone())));
        if there.is_none() {
            // Struck off, or new: whatever it held is over.
            self.renewed = None;
            self.doubt();
        }
        if !is_as_wanted {
            batch.put(&NODES, node.0, Json(entry));
            batch.wake(Topic::new(TOPIC, ""));
        }
        if !self.shared.has_others {
            for other in roster.nodes.keys().filter(|other| **other != node) {
                strike_off(&mut batch, roster, *other);
            }
        }
        batch.put(&BEATS, node.0, beat.unwrap_or(0).wrapping_add(1));
        if self.commit(batch).await? {
            if there.is_none() {
                tracing::info!(%node, "this node is among the living");
            }
            self.renewed = Some(now);
        }
        Ok(())
    }

    /// Those whose beat stood still for so long that they may be dead.
    fn suspects(&self) -> BTreeSet<NodeId> {
        // A beat comes to be seen as late as this; what takes longer is not as it should be.
        let still = self.shared.tempo.beat + self.shared.tempo.look * 3 / 2;
        let seen = self.seen.iter();
        seen.filter(|(_, seen)| seen.since.elapsed() >= still)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Strikes off those whose beat stood still for long enough.
    async fn bury(&mut self, roster: &Roster, now: Instant) -> Result<(), Error> {
        self.seen.retain(|id, _| roster.nodes.contains_key(id));
        let mut dead = Vec::new();
        for id in roster.nodes.keys().filter(|id| **id != self.shared.node) {
            let beat = roster.beats.get(id).copied();
            let seen = self.seen.entry(*id).or_insert(Seen { beat, since: now });
            if seen.beat != beat {
                *seen = Seen { beat, since: now };
            } else if now.duration_since(seen.since) >= self.shared.tempo.patience {
                dead.push((*id, beat));
            }
        }
        for (id, beat) in dead {
            let mut batch = Batch::new();
            // Of many who do it one succeeds; nobody, if it moved after all.
            batch.assert_unchanged(&BEATS, id.0, beat);
            strike_off(&mut batch, roster, id);
            if self.commit(batch).await? {
                metrics::counter!("hearth_nodes_struck_off_total").increment(1);
                tracing::warn!(node = %id, "a node gives no sign of life: others do its work");
            }
            self.seen.remove(&id);
        }
        Ok(())
    }

    /// Gives back what was told to be over the last time; whether there was anything.
    async fn part(&mut self, roster: &Roster) -> Result<bool, Error> {
        let parting = std::mem::take(&mut self.parting);
        let mut batch = Batch::new();
        for (name, lease) in roster.of(self.shared.node) {
            if parting.contains(name) {
                free(&mut batch, name, *lease);
            }
        }
        if batch.is_empty() {
            return Ok(false);
        }
        self.commit(batch).await
    }

    /// Takes what is free and this node's turn, or what whoever's turn it is has left lying; whether there was anything.
    async fn take(&mut self, roster: &Roster) -> Result<bool, Error> {
        if !roster.nodes.contains_key(&self.shared.node) || !self.is_sure() {
            return Ok(false);
        }
        let wanted = self.wanted();
        let now = Instant::now();
        let heirs = roster.heirs(&self.suspects());
        self.neglected.retain(|name, _| heirs.contains_key(name));
        let mut batches = Vec::new();
        for (name, heir) in heirs {
            let since = *self.neglected.entry(name.clone()).or_insert(now);
            let is_neglected = now.duration_since(since) >= self.shared.tempo.look * 3 / 4;
            if !wanted.contains(&name) || (heir != self.shared.node && !is_neglected) {
                continue;
            }
            let lease = roster.leases.get(&name).copied();
            let mut batch = Batch::new();
            // Of many who try one gets it.
            batch.assert_unchanged(&LEASES, name.as_str(), lease);
            let epoch = Epoch(lease.map_or(0, |lease| lease.epoch.0) + 1);
            let holder = Some(self.shared.node);
            batch.put(&LEASES, name.as_str(), Lease { epoch, holder });
            batches.push(batch);
        }
        let some = !batches.is_empty();
        let commits = batches.into_iter().map(|batch| self.commit(batch));
        for done in join_all(commits).await {
            done?;
        }
        Ok(some)
    }

    fn wanted(&self) -> BTreeSet<String> {
        let wanted = self.shared.wanted.lock();
        wanted.keys().map(|name| (**name).to_owned()).collect()
    }

    /// Tells who tries for a lease whether they have it.
    fn tell(&self, held: &BTreeMap<String, Epoch>) {
        let (mut count, mut moved) = (0_u32, false);
        for (name, told) in &*self.shared.wanted.lock() {
            let now = held.get(&**name).map(|epoch| Held {
                name: name.clone(),
                node: self.shared.node,
                epoch: *epoch,
            });
            count += u32::from(now.is_some());
            moved |= told.send_if_modified(|state| {
                let changed = *state != now;
                if changed {
                    let has = now.is_some();
                    tracing::debug!(name = &**name, has, "a lease changes hands");
                }
                *state = now;
                changed
            });
        }
        if moved {
            self.shared.changes.send_modify(|changes| *changes += 1);
        }
        metrics::gauge!("hearth_leases_held").set(f64::from(count));
    }

    async fn leave(&self) {
        self.tell(&BTreeMap::new());
        let left = async {
            let roster = Roster::read(&self.shared.store.view().await?).await?;
            let mut batch = Batch::new();
            strike_off(&mut batch, &roster, self.shared.node);
            self.commit(batch).await
        };
        match timeout(self.shared.tempo.patience, left).await {
            Ok(Ok(true)) => {}
            _ => {
                tracing::warn!("the leases were not given back: others wait a few seconds for them")
            }
        }
    }

    /// Whether `batch` was applied; false on a conflict.
    async fn commit(&self, batch: Batch) -> Result<bool, Error> {
        match self.shared.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }
}

/// Waits for a hint that leases are free.
async fn told(hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(hint) => {
                let mut topics = hint.topics.iter();
                if topics.any(|topic| matches!(topic.parts(), Some((TOPIC, _)))) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Takes a node off the list, and what it holds away from it.
fn strike_off(batch: &mut Batch, roster: &Roster, node: NodeId) {
    for (name, lease) in roster.of(node) {
        free(batch, name, *lease);
    }
    batch.delete(&NODES, node.0);
    batch.delete(&BEATS, node.0);
    batch.wake(Topic::new(TOPIC, ""));
}

fn free(batch: &mut Batch, name: &str, lease: Lease) {
    batch.assert_equals(&LEASES, name, lease);
    let holder = None;
    batch.put(&LEASES, name, Lease { holder, ..lease });
    batch.wake(Topic::new(TOPIC, ""));
}
