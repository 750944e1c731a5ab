//! Owns rows, locks, groups and simulated time. Must never look at what readers make of it.
//!
//! Each node commits as one does today, once for each set of shards: while a group is being written, what comes for the same
//! set waits, and is the next group.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use hearth_base::{Rng as _, SeededRng};

use crate::readers::{Fault, Reader};

/// Nodes, and callers of each that ask again once they are answered.
const NODES: usize = 10;
const CALLERS: usize = 500;

/// Most batches of a group, as in `src/store/engines/group.rs`.
const GROUP: usize = 256;

/// Microseconds that a group takes under its lock, and each record set of a batch in a shard. Of the measurement in
/// docs/scaling.md: 2,200 events a second one by one and 15,500 by sixty-four are 396 µs a group and 58 µs an event.
const OF_GROUP: u64 = 396;
const OF_ENTRY: u64 = 58;

/// Microseconds of a statement that locks a row, or reads heads.
const STATEMENT: u64 = 50;

/// Microseconds from an answer to the next question of a caller at most, and between two looks of a reader.
const THINKS: u64 = 2_000;
const LOOKS: u64 = 5_000;

/// What is asked of the log.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) shards: usize,
    pub(crate) pairs_percent: u64,
    pub(crate) millis: u64,
    pub(crate) readers: usize,
}

/// What the design stands on; each can be left out.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Rows are locked in the order of their numbers.
    pub(crate) ordered: bool,
    /// Positions are given while the rows are locked.
    pub(crate) under_lock: bool,
    /// The heads of all shards are read at one moment.
    pub(crate) one_statement: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ordered: true,
            under_lock: true,
            one_statement: true,
        }
    }
}

/// What one caller wants to be written, in one or two shards.
pub(crate) struct Batch {
    caller: usize,
    pub(crate) shards: Vec<usize>,
    /// What its caller had written before, and knew to be there.
    pub(crate) after: Option<usize>,
    is_written: bool,
}

/// Batches that are written together.
struct Group {
    queue: usize,
    shards: Vec<usize>,
    batches: Vec<usize>,
    /// Locks that it holds: so many of `shards`.
    locked: usize,
    /// The first position of each shard.
    first: Vec<u64>,
}

/// The row of a shard, and what it orders.
#[derive(Default)]
pub(crate) struct Shard {
    given: u64,
    holder: Option<usize>,
    waiting: VecDeque<usize>,
    /// What everybody can see, by position.
    pub(crate) entries: BTreeMap<u64, usize>,
}

impl Shard {
    /// What a view says of it.
    pub(crate) fn head(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(0, |(position, _)| *position)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    /// A caller asks.
    Asks(usize),
    /// A group's statement reaches its next row.
    Locks(usize),
    /// A group is committed.
    Ends(usize),
    /// A reader reads the heads from this shard on.
    Reads(usize, usize),
}

/// Everything.
pub(crate) struct World {
    load: Load,
    rules: Rules,
    rng: SeededRng,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    planned: u64,
    batches: Vec<Batch>,
    /// The newest batch of each caller that was answered.
    answered: Vec<Option<usize>>,
    /// By node and set of shards: what waits, and whether a group is under way.
    queues: Vec<(VecDeque<usize>, bool)>,
    groups: Vec<Group>,
    shards: Vec<Shard>,
    readers: Vec<Reader>,
}

impl World {
    pub(crate) fn new(seed: u64, load: Load, rules: Rules) -> Self {
        let sets = load.shards * load.shards;
        let mut world = Self {
            load,
            rules,
            rng: SeededRng::new(seed),
            now: 0,
            agenda: BinaryHeap::new(),
            planned: 0,
            batches: Vec::new(),
            answered: vec![None; NODES * CALLERS],
            queues: (0..NODES * sets)
                .map(|_| (VecDeque::new(), false))
                .collect(),
            groups: Vec::new(),
            shards: (0..load.shards).map(|_| Shard::default()).collect(),
            readers: (0..load.readers)
                .map(|_| Reader::new(load.shards))
                .collect(),
        };
        for caller in 0..NODES * CALLERS {
            world.plan(THINKS, Happens::Asks(caller));
        }
        for reader in 0..load.readers {
            world.plan(LOOKS, Happens::Reads(reader, 0));
        }
        world
    }

    /// Runs to the end, and says how many batches were written a second, or what went wrong.
    pub(crate) fn run(mut self) -> Result<u64, Fault> {
        let end = self.load.millis * 1000;
        while let Some(Reverse((at, _, happens))) = self.agenda.pop() {
            if matches!(happens, Happens::Asks(_)) && at > end {
                continue;
            }
            self.now = at;
            match happens {
                Happens::Asks(caller) => self.ask(caller),
                Happens::Locks(group) => self.lock(group),
                Happens::Ends(group) => self.end(group),
                Happens::Reads(reader, shard) => self.read(reader, shard, at > end)?,
            }
        }
        let written = self.batches.iter().filter(|batch| batch.is_written).count();
        if written < self.batches.len() {
            return Err(Fault::Stuck(self.batches.len() - written));
        }
        for reader in &mut self.readers {
            reader.view = self.shards.iter().map(Shard::head).collect();
            reader.take(&self.shards, &self.batches)?;
            reader.has_all(written)?;
        }
        Ok(written as u64 * 1_000_000 / self.now)
    }

    /// Something in `most` microseconds at the latest.
    fn plan(&mut self, most: u64, happens: Happens) {
        let at = self.now + 1 + self.rng.number() % most;
        self.planned += 1;
        self.agenda.push(Reverse((at, self.planned, happens)));
    }

    fn pick(&self, below: usize) -> usize {
        (self.rng.number() % below as u64) as usize
    }

    fn ask(&mut self, caller: usize) {
        let mut shards = vec![self.pick(self.load.shards)];
        if self.load.shards > 1 && self.rng.number() % 100 < self.load.pairs_percent {
            shards.push((shards[0] + 1 + self.pick(self.load.shards - 1)) % self.load.shards);
        }
        if self.rules.ordered {
            shards.sort_unstable();
        }
        let set = shards[0] * self.load.shards + shards[shards.len() - 1];
        let queue = (caller % NODES) * self.load.shards * self.load.shards + set;
        let after = self.answered[caller];
        self.batches.push(Batch {
            caller,
            shards,
            after,
            is_written: false,
        });
        self.queues[queue].0.push_back(self.batches.len() - 1);
        self.begin(queue);
    }

    fn begin(&mut self, queue: usize) {
        let (waiting, is_busy) = &mut self.queues[queue];
        let Some(first) = waiting.front().filter(|_| !*is_busy) else {
            return;
        };
        *is_busy = true;
        let shards = self.batches[*first].shards.clone();
        let count = waiting.len().min(GROUP);
        let batches = waiting.drain(..count).collect();
        self.groups.push(Group {
            queue,
            shards,
            batches,
            locked: 0,
            first: Vec::new(),
        });
        let group = self.groups.len() - 1;
        if !self.rules.under_lock {
            self.give(group);
        }
        self.plan(2 * STATEMENT, Happens::Locks(group));
    }

    /// Gives the group its positions in each of its shards.
    fn give(&mut self, group: usize) {
        let group = &mut self.groups[group];
        for shard in &group.shards {
            let given = &mut self.shards[*shard].given;
            group.first.push(*given + 1);
            *given += group.batches.len() as u64;
        }
    }

    fn lock(&mut self, number: usize) {
        let group = &self.groups[number];
        let row = &mut self.shards[group.shards[group.locked]];
        match row.holder {
            Some(_) => row.waiting.push_back(number),
            None => self.hold(number),
        }
    }

    /// The next row of the group is its own now.
    fn hold(&mut self, number: usize) {
        let group = &mut self.groups[number];
        self.shards[group.shards[group.locked]].holder = Some(number);
        group.locked += 1;
        if group.locked < group.shards.len() {
            return self.plan(2 * STATEMENT, Happens::Locks(number));
        }
        let entries = (group.batches.len() * group.shards.len()) as u64;
        if self.rules.under_lock {
            self.give(number);
        }
        // Twice the mean at most, so that nothing keeps step with anything.
        self.plan(2 * (OF_GROUP + OF_ENTRY * entries), Happens::Ends(number));
    }

    /// Everything of the group is visible at once, and its rows are free.
    fn end(&mut self, number: usize) {
        let group = &self.groups[number];
        let (queue, shards, batches) = (group.queue, group.shards.clone(), group.batches.clone());
        for (shard, first) in shards.iter().zip(group.first.clone()) {
            self.shards[*shard]
                .entries
                .extend((first..).zip(batches.iter().copied()));
        }
        for batch in batches {
            self.batches[batch].is_written = true;
            let caller = self.batches[batch].caller;
            self.answered[caller] = Some(batch);
            self.plan(THINKS, Happens::Asks(caller));
        }
        for shard in shards {
            self.shards[shard].holder = None;
            if let Some(next) = self.shards[shard].waiting.pop_front() {
                self.hold(next);
            }
        }
        self.queues[queue].1 = false;
        self.begin(queue);
    }

    fn read(&mut self, number: usize, shard: usize, is_last: bool) -> Result<(), Fault> {
        let until = match self.rules.one_statement {
            true => self.shards.len(),
            false => shard + 1,
        };
        for shard in shard..until {
            self.readers[number].view[shard] = self.shards[shard].head();
        }
        if until < self.shards.len() {
            self.plan(2 * STATEMENT, Happens::Reads(number, until));
            return Ok(());
        }
        self.readers[number].take(&self.shards, &self.batches)?;
        if !is_last {
            self.plan(LOOKS, Happens::Reads(number, 0));
        }
        Ok(())
    }
}
