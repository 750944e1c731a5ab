//! Owns state resolution: several states of a room in, one out, the same on every server. Must never load anything: the
//! caller passes look-ups. Versions 2 and 2.1 of the algorithm are Ruma's; version 1 is in `resolution/first.rs`.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#state-resolution>,
//! <https://spec.matrix.org/latest/rooms/v12/#state-resolution>, <https://spec.matrix.org/latest/rooms/v1/#state-resolution>

mod conflict;
mod first;

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::StateResolutionVersion,
    state_res::{self, utils::event_id_set::EventIdSet},
};

use crate::{errors::Unresolved, pdu::Pdu, version::RoomVersion};

pub use conflict::{Conflict, resolve_conflict};

/// A room state: type and state key to event id.
pub type StateMap = HashMap<(String, String), OwnedEventId>;

/// The most auth events that [`auth_chains`] and [`conflicted_subgraph`] walk, so that a hostile graph ends.
pub const MAX_AUTH_EVENTS: usize = 1_000_000;

/// Resolves several states of a room to one.
///
/// * `states`: the states. Entries that are the same in all of them come back as they are, and may be left out of all
///   of them, save those that the auth rules of a conflicted event ask for ([`crate::auth_types`], and the create
///   event). So a caller who knows the differences need not pass a whole state.
/// * `chains`: for each state the ids of all its events and all their auth events, recursively: what [`auth_chains`]
///   computes from whole states. What is the same in all of them may be left out. Room version 1 does not look at it.
/// * `fetch`: finds an event of the room. Rejected events have to be marked ([`Pdu::marked_rejected`]).
/// * `subgraph`: the conflicted state subgraph of the given events, which only room version 12 asks for:
///   [`conflicted_subgraph`] or an index that knows the same.
///
/// # Errors
/// `Unresolved` when an event that matters cannot be found. Nothing is decided then.
fn resolve(
    version: RoomVersion,
    states: &[StateMap],
    chains: Vec<HashSet<OwnedEventId>>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
    subgraph: impl Fn(&HashSet<OwnedEventId>) -> Result<HashSet<OwnedEventId>, Unresolved>,
) -> Result<StateMap, Unresolved> {
    let rules = version.rules();
    let StateResolutionVersion::V2(state_rules) = &rules.state_res else {
        return first::resolve(version, states, fetch);
    };
    if version.has_explicit_event_ids() {
        // Ids that are no hashes can be made to point in circles, in which Ruma would walk for ever.
        refuse_circles(states.iter().flat_map(HashMap::values), &fetch)?;
    }
    // The events of other rooms and those that are not state never belong in a state; Ruma relies on the caller there.
    let maps: Vec<_> = states.iter().map(to_ruma).collect();
    let chains = chains
        .into_iter()
        .map(|chain| chain.into_iter().collect::<EventIdSet<_>>())
        .collect();
    let failure = std::cell::RefCell::new(None);
    let fetch_subgraph = |conflicted: &state_res::StateMap<Vec<OwnedEventId>>| {
        let conflicted = conflicted.values().flatten().cloned().collect();
        match subgraph(&conflicted) {
            Ok(events) => Some(events.into_iter().collect()),
            Err(error) => {
                *failure.borrow_mut() = Some(error);
                None
            }
        }
    };
    let resolved = state_res::resolve(
        &rules.authorization,
        state_rules,
        &maps,
        chains,
        fetch,
        fetch_subgraph,
    );
    match resolved {
        Ok(resolved) => Ok(from_ruma(resolved)),
        Err(error) => Err(failure.into_inner().unwrap_or_else(|| unresolved(error))),
    }
}

/// As [`resolve`], for whole states, with everything else computed from the events themselves. Walks the auth events of
/// the whole state, so it suits small rooms and checks of faster ways.
///
/// # Errors
/// `Unresolved` when an event cannot be found, or the auth graph is beyond [`MAX_AUTH_EVENTS`].
pub fn resolve_whole(
    version: RoomVersion,
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<StateMap, Unresolved> {
    let chains = match version.rules().state_res {
        StateResolutionVersion::V2(_) => auth_chains(states, &fetch)?,
        _ => Vec::new(),
    };
    resolve(version, states, chains, &fetch, |conflicted| {
        conflicted_subgraph(conflicted, &fetch)
    })
}

/// For each state, the ids of all its events and of all their auth events, recursively.
///
/// The specification leaves the events of the state themselves out of their chain. That only matters for an event which
/// all states hold and which is an auth event in just some of them; deployed servers count it as known to all, and
/// reaching the same state as they do is the point.
///
/// # Errors
/// `Unresolved` when an event cannot be found, or the graph is beyond [`MAX_AUTH_EVENTS`].
fn auth_chains(
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<Vec<HashSet<OwnedEventId>>, Unresolved> {
    states
        .iter()
        .map(|state| auth_chain(state.values(), &fetch))
        .collect()
}

/// The ids of the given events and of all their auth events, recursively.
///
/// # Errors
/// `Unresolved` when an event cannot be found, or the graph is beyond [`MAX_AUTH_EVENTS`].
fn auth_chain<'a>(
    events: impl IntoIterator<Item = &'a OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<HashSet<OwnedEventId>, Unresolved> {
    let mut waiting: Vec<OwnedEventId> = events.into_iter().cloned().collect();
    let mut chain: HashSet<OwnedEventId> = waiting.iter().cloned().collect();
    while let Some(id) = waiting.pop() {
        let event = fetch(&id).ok_or(Unresolved::Missing(id))?;
        for auth_event in event.auth_events() {
            if chain.insert(auth_event.clone()) {
                waiting.push(auth_event.clone());
            }
        }
        if chain.len() > MAX_AUTH_EVENTS {
            return Err(Unresolved::TooLarge(MAX_AUTH_EVENTS));
        }
    }
    Ok(chain)
}

/// The events on all paths along `auth_events` from one of the given events to another, ends included.
///
/// # Errors
/// `Unresolved` when the graph is beyond [`MAX_AUTH_EVENTS`]. Events that cannot be found end their path.
fn conflicted_subgraph(
    conflicted: &HashSet<OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<HashSet<OwnedEventId>, Unresolved> {
    // Down from the conflicted events, keeping the edges upside down …
    let mut parents: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut seen = conflicted.clone();
    let mut waiting: Vec<_> = conflicted.iter().cloned().collect();
    while let Some(id) = waiting.pop() {
        let Some(event) = fetch(&id) else { continue };
        for auth_event in event.auth_events() {
            parents
                .entry(auth_event.clone())
                .or_default()
                .push(id.clone());
            if seen.insert(auth_event.clone()) {
                waiting.push(auth_event.clone());
            }
        }
        if seen.len() > MAX_AUTH_EVENTS {
            return Err(Unresolved::TooLarge(MAX_AUTH_EVENTS));
        }
    }
    // … then up again from them: what is met lies below one conflicted event and above another.
    let mut subgraph = conflicted.clone();
    let mut waiting: Vec<_> = conflicted.iter().cloned().collect();
    while let Some(id) = waiting.pop() {
        for parent in parents.get::<EventId>(id.borrow()).into_iter().flatten() {
            if subgraph.insert(parent.clone()) {
                waiting.push(parent.clone());
            }
        }
    }
    Ok(subgraph)
}

/// Checks that no event is among its own auth events, however far down.
fn refuse_circles<'a>(
    events: impl Iterator<Item = &'a OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<(), Unresolved> {
    enum Step {
        Enter(OwnedEventId),
        Leave(OwnedEventId),
    }
    let mut steps: Vec<Step> = events.cloned().map(Step::Enter).collect();
    // For each event met: whether the walk is still below it.
    let mut open: HashMap<OwnedEventId, bool> = HashMap::new();
    while let Some(step) = steps.pop() {
        let id = match step {
            Step::Leave(id) => {
                open.insert(id, false);
                continue;
            }
            Step::Enter(id) => id,
        };
        match open.get(&id) {
            Some(true) => return Err(Unresolved::Corrupt(format!("{id} is its own auth event"))),
            Some(false) => continue,
            None => {}
        }
        if open.len() > MAX_AUTH_EVENTS {
            return Err(Unresolved::TooLarge(MAX_AUTH_EVENTS));
        }
        open.insert(id.clone(), true);
        let event = fetch(&id);
        steps.push(Step::Leave(id));
        for auth_event in event.iter().flat_map(|event| event.auth_events()) {
            steps.push(Step::Enter(auth_event.clone()));
        }
    }
    Ok(())
}

fn to_ruma(state: &StateMap) -> state_res::StateMap<OwnedEventId> {
    let entry = |((event_type, state_key), id): (&(String, String), &OwnedEventId)| {
        (
            (StateEventType::from(event_type.as_str()), state_key.clone()),
            id.clone(),
        )
    };
    state.iter().map(entry).collect()
}

fn from_ruma(state: state_res::StateMap<OwnedEventId>) -> StateMap {
    state
        .into_iter()
        .map(|((event_type, state_key), id)| ((event_type.to_string(), state_key), id))
        .collect()
}

fn unresolved(error: state_res::Error) -> Unresolved {
    match error {
        state_res::Error::NotFound(id) => Unresolved::Missing(id),
        other => Unresolved::Corrupt(other.to_string()),
    }
}

#[cfg(test)]
mod forks;
#[cfg(test)]
mod tests;
