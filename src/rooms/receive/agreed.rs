//! Owns finding out which events vouch for an entry on which states agree. Must never keep what it walks past but for a mark of
//! each event.
//!
//! Looked at are, in this order: the entries that most likely have an event behind them; what came to the agreed entries since all of
//! the room's were looked at; all of them, page by page. Whatever vouches for one of the entries looked at before is
//! remembered, so that in a large room only the first search costs what the room is large.

use std::collections::{HashMap, HashSet};

use hearth_protocol::Pdu;
use quick_cache::{Weighter, sync::Cache};
use ruma::OwnedEventId;
use sha2::{Digest as _, Sha256};

use super::{difference::TOGETHER, resolve::Differing};
use crate::{
    Error,
    plan::Plan,
    state::{Root, Which},
};

/// How many events one search looks at.
const MAX_WALKED: usize = 1_000_000;

/// How many bytes are remembered of all rooms together.
const REMEMBERED: u64 = 16 << 20;

/// How many rooms that is for, to begin with; few, so that the memory is not divided and one room may have most of it.
const ROOMS: usize = 32;

/// What stands for an event id: no two of one room have the same.
type Mark = [u8; 16];

fn mark(id: &OwnedEventId) -> Mark {
    let hash = Sha256::digest(id.as_bytes());
    std::array::from_fn(|at| hash[at])
}

/// By the number of a room, what is known to vouch for agreed entries of its states.
pub(crate) struct KnownVouchers(Cache<u64, Vouchers, ByMemory>);

/// At least everything that vouches for entries of the state `first` but those of `without`, and these entries.
#[derive(Clone)]
struct Vouchers {
    first: Root,
    without: HashSet<(String, String)>,
    seen: HashSet<Mark>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<u64, Vouchers> for ByMemory {
    fn weight(&self, _: &u64, known: &Vouchers) -> u64 {
        let keys = known.without.iter();
        let keys: usize = keys.map(|key| 64 + key.0.len() + key.1.len()).sum();
        (128 + keys + known.seen.capacity() * (size_of::<Mark>() + 2)) as u64
    }
}

impl Default for KnownVouchers {
    fn default() -> Self {
        Self(Cache::with_weighter(ROOMS, REMEMBERED, ByMemory))
    }
}

/// A search for events behind agreed entries.
pub(super) struct Search<'a> {
    plan: &'a Plan,
    differing: &'a Differing,
    /// One of the states.
    first: Root,
    /// Events that need not be read.
    loaded: &'a HashMap<OwnedEventId, Pdu>,
    /// Which of these are there.
    wanted: HashSet<OwnedEventId>,
    seen: HashSet<Mark>,
    open: Vec<OwnedEventId>,
    walked: usize,
    /// Whether an event was missing, behind which there may be more.
    has_gaps: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        differing: &'a Differing,
        first: Root,
        loaded: &'a HashMap<OwnedEventId, Pdu>,
        wanted: HashSet<OwnedEventId>,
    ) -> Self {
        Self {
            plan,
            differing,
            first,
            loaded,
            wanted,
            seen: HashSet::new(),
            open: Vec::new(),
            walked: 0,
            has_gaps: false,
        }
    }

    /// Those of the wanted events that vouch for no agreed entry, and how many events were looked at.
    pub(super) async fn run(mut self) -> Result<(HashSet<OwnedEventId>, usize), Error> {
        self.look_near().await?;
        if !self.wanted.is_empty() {
            self.look_everywhere().await?;
        }
        Ok((self.wanted, self.walked))
    }

    /// Looks behind what rules the room, what took the place of a wanted event, and who sent it.
    async fn look_near(&mut self) -> Result<(), Error> {
        let ruling = ["m.room.power_levels", "m.room.join_rules"];
        let mut keys: HashSet<_> = ruling.map(|it| (it.to_owned(), String::new())).into();
        for pdu in self.wanted.iter().filter_map(|id| self.loaded.get(id)) {
            let state_key = pdu.state_key().unwrap_or_default();
            keys.insert((pdu.event_type().to_owned(), state_key.to_owned()));
            keys.insert(("m.room.member".to_owned(), pdu.sender().to_string()));
        }
        self.meet_entries(&keys).await?;
        self.walk().await
    }

    async fn look_everywhere(&mut self) -> Result<(), Error> {
        let number = self.plan.head.number;
        let remembered = &self.plan.rooms.0.vouchers.0;
        let known = remembered.remove(&number).map(|(_, known)| known);
        let is_behind = |known: &Vouchers| {
            let mut wanted = self.wanted.iter();
            wanted.any(|id| known.seen.contains(&mark(id)))
        };
        match known.filter(|known| !is_behind(known)) {
            Some(known) => self.look_at_news(known).await?,
            None => self.look_at_all().await?,
        }
        // What a search that ended early has seen may have more behind it, and a state of a plan that comes to nothing is lost.
        let is_whole = self.open.is_empty() && !self.wanted.is_empty() && !self.has_gaps;
        if is_whole && !self.plan.overlay.holds(number, self.first) {
            let without = self.differing.keys().cloned().collect();
            let (first, seen) = (self.first, std::mem::take(&mut self.seen));
            let known = Vouchers {
                first,
                without,
                seen,
            };
            remembered.insert(number, known);
        }
        Ok(())
    }

    /// Looks behind those agreed entries that were not looked at before.
    async fn look_at_news(&mut self, known: Vouchers) -> Result<(), Error> {
        let mut keys = known.without;
        self.seen.extend(known.seen);
        let changes = self.plan.differences(known.first, self.first).await?;
        keys.extend(
            changes
                .into_iter()
                .map(|change| (change.event_type, change.state_key)),
        );
        self.meet_entries(&keys).await?;
        self.walk().await
    }

    async fn look_at_all(&mut self) -> Result<(), Error> {
        let plan = self.plan;
        let nodes = (&plan.view, &plan.overlay);
        let tree = &plan.rooms.0.tree;
        let mut entries = tree.walk(nodes, plan.head.number, self.first, Which::All);
        while !self.wanted.is_empty()
            && let Some(page) = entries.next_page().await?
        {
            for (event_type, state_key, id) in page {
                if !self.differing.contains_key(&(event_type, state_key)) {
                    self.meet(&id);
                }
            }
            self.walk().await?;
        }
        Ok(())
    }

    /// Has the search come by the agreed ones of these entries.
    async fn meet_entries(&mut self, keys: &HashSet<(String, String)>) -> Result<(), Error> {
        for key in keys.iter().filter(|key| !self.differing.contains_key(*key)) {
            if let Some(id) = self.plan.state_id(self.first, &key.0, &key.1).await? {
                self.meet(&id);
            }
        }
        Ok(())
    }

    fn meet(&mut self, id: &OwnedEventId) {
        if self.seen.insert(mark(id)) {
            self.wanted.remove(id);
            self.open.push(id.clone());
        }
    }

    /// Goes on until everything is found or nothing is left to look at.
    async fn walk(&mut self) -> Result<(), Error> {
        while !self.open.is_empty() && !self.wanted.is_empty() {
            let start = self.open.len().saturating_sub(TOGETHER);
            let next = self.open.split_off(start);
            let loaded = self.loaded;
            let (known, unknown): (Vec<_>, Vec<_>) =
                next.into_iter().partition(|id| loaded.contains_key(id));
            for pdu in known.iter().filter_map(|id| loaded.get(id)) {
                pdu.auth_events().iter().for_each(|named| self.meet(named));
            }
            for pdu in self.plan.pdus(&unknown, false).await? {
                let Some(pdu) = pdu else {
                    self.has_gaps = true;
                    continue;
                };
                pdu.auth_events().iter().for_each(|named| self.meet(named));
            }
            self.walked += unknown.len();
            if self.walked > MAX_WALKED {
                return Err(Error::corrupt("too many events vouch for a state"));
            }
        }
        Ok(())
    }
}
