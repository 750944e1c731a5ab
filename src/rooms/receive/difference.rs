//! Owns the auth difference of states: which events vouch for some of them and not for all. Must never walk the auth events of
//! whole states where those of what differs say enough.
//!
//! What vouches for an entry on which all states agree vouches for all of them. So only what the differing entries lead to can
//! be in the difference: it is loaded, and each event knows for which states it vouches. One that vouches for some may
//! still vouch for an agreed entry (`agreed.rs`).
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#definitions>

use std::collections::{HashMap, HashSet};

use hearth_protocol::Pdu;
use ruma::OwnedEventId;

use super::{agreed::Search, resolve::Differing};
use crate::{Error, plan::Plan, state::Root};

/// How many events lead to what differs at most.
const MAX_LOADED: usize = 300_000;

/// How many events are read together.
pub(super) const TOGETHER: usize = 256;

/// Some of several states, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Among(Box<[u64]>);

impl Among {
    pub(super) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    pub(super) fn all(count: usize) -> Self {
        let mut all = Self(vec![u64::MAX; count.div_ceil(64)].into());
        for above in count..all.0.len() * 64 {
            all.remove(above);
        }
        all
    }

    pub(super) fn add(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    fn add_all(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own |= other;
        }
    }
}

/// The events at which states differ, and what vouches for those.
pub(super) struct Vouching {
    /// Those that were found.
    pub(super) events: HashMap<OwnedEventId, Pdu>,
    /// How many events were looked at and not kept.
    pub(super) walked: usize,
    /// In which states each is, or vouches for an entry that differs.
    among: HashMap<OwnedEventId, Among>,
    /// All states.
    all: Among,
}

impl Plan {
    /// What vouches for the events at which `count` states differ. An event that is missing ends its path.
    pub(super) async fn vouching(
        &self,
        differing: &Differing,
        count: usize,
    ) -> Result<Vouching, Error> {
        let mut among: HashMap<OwnedEventId, Among> = HashMap::new();
        for (id, states) in differing.values().flatten() {
            if let Some(id) = id {
                among.insert(id.clone(), states.clone());
            }
        }
        let mut open: Vec<OwnedEventId> = among.keys().cloned().collect();
        let mut events = HashMap::new();
        while !open.is_empty() {
            let next = open.split_off(open.len().saturating_sub(TOGETHER));
            let found = self.pdus(&next, true).await?;
            for (id, pdu) in next.into_iter().zip(found) {
                let Some(pdu) = pdu else { continue };
                for named in pdu.auth_events() {
                    if !among.contains_key(named) {
                        among.insert(named.clone(), Among::none(count));
                        open.push(named.clone());
                    }
                }
                events.insert(id, pdu);
            }
            if among.len() > MAX_LOADED {
                return Err(Error::corrupt("too many events vouch for what differs"));
            }
        }
        Ok(Vouching {
            events,
            walked: 0,
            among,
            all: Among::all(count),
        })
    }

    /// The events that vouch for some of the states, the first of which is `first`, and not for all of them.
    pub(super) async fn difference(
        &self,
        vouching: &mut Vouching,
        differing: &Differing,
        first: Root,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let order = vouching.newest_first()?;
        let mut agreed: HashSet<&OwnedEventId> = HashSet::new();
        let mut wanted = HashSet::new();
        for id in &order {
            let pdu = &vouching.events[id];
            let among = vouching.among[id].clone();
            let is_agreed = agreed.contains(id)
                || (among != vouching.all && self.is_agreed(pdu, differing, first).await?);
            for named in pdu.auth_events() {
                if let Some(states) = vouching.among.get_mut(named) {
                    states.add_all(&among);
                }
                if is_agreed && let Some((named, _)) = vouching.events.get_key_value(named) {
                    agreed.insert(named);
                }
            }
            if !is_agreed && among != vouching.all && !is_differing(pdu, differing) {
                wanted.insert(id.clone());
            }
        }
        let search = Search::new(self, differing, first, &vouching.events, wanted);
        let (difference, walked) = search.run().await?;
        vouching.walked = walked;
        Ok(difference.into_iter().collect())
    }

    /// Whether all states hold the event.
    async fn is_agreed(
        &self,
        pdu: &Pdu,
        differing: &Differing,
        first: Root,
    ) -> Result<bool, Error> {
        let Some(state_key) = pdu.state_key() else {
            return Ok(false);
        };
        let key = (pdu.event_type().to_owned(), state_key.to_owned());
        if differing.contains_key(&key) {
            return Ok(false);
        }
        let id = self.state_id(first, &key.0, &key.1).await?;
        Ok(id.as_deref() == Some(pdu.event_id()))
    }
}

impl Plan {
    /// These events, as far as they are known; `remember` as in [`crate::Rooms::found_events`].
    pub(super) async fn pdus(
        &self,
        ids: &[OwnedEventId],
        remember: bool,
    ) -> Result<Vec<Option<Pdu>>, Error> {
        let planned = |id: &OwnedEventId| self.redacted.get(id).or_else(|| self.fresh.get(id));
        let stored: Vec<_> = ids.iter().filter(|id| planned(id).is_none()).collect();
        let mut stored = self
            .rooms
            .found_events(&self.view, stored, remember)
            .await?
            .into_iter();
        let events = ids.iter().map(|id| match planned(id) {
            Some(event) => Some(event.pdu.clone()),
            None => stored.next().flatten().map(|event| event.pdu.clone()),
        });
        Ok(events.collect())
    }
}

impl Vouching {
    /// The events that were found, each before those that vouch for it.
    fn newest_first(&self) -> Result<Vec<OwnedEventId>, Error> {
        let mut waits: HashMap<&OwnedEventId, usize> = HashMap::with_capacity(self.events.len());
        for named in self.events.values().flat_map(Pdu::auth_events) {
            *waits.entry(named).or_default() += 1;
        }
        let mut ready: Vec<&OwnedEventId> = self
            .events
            .keys()
            .filter(|id| !waits.contains_key(id))
            .collect();
        let mut order = Vec::with_capacity(self.events.len());
        while let Some(id) = ready.pop() {
            let Some(pdu) = self.events.get(id) else {
                continue;
            };
            order.push(id.clone());
            for named in pdu.auth_events() {
                if let Some(count) = waits.get_mut(named) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(named);
                    }
                }
            }
        }
        match order.len() == self.events.len() {
            true => Ok(order),
            false => Err(Error::corrupt("an event vouches for itself")),
        }
    }
}

/// Whether some state holds the event and others do not.
fn is_differing(pdu: &Pdu, differing: &Differing) -> bool {
    let Some(state_key) = pdu.state_key() else {
        return false;
    };
    let key = (pdu.event_type().to_owned(), state_key.to_owned());
    let events = differing.get(&key);
    events.is_some_and(|events| events.contains_key(&Some(pdu.event_id().to_owned())))
}
