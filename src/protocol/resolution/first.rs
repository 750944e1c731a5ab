//! Owns the first state resolution algorithm, which only room version 1 uses. Must never be changed to decide better:
//! its flaws are part of room version 1.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v1/#state-resolution>

use std::collections::{BTreeMap, BTreeSet};

use ruma::{EventId, OwnedEventId};
use sha1::{Digest, Sha1};

use super::StateMap;
use crate::{auth, errors::Unresolved, pdu::Pdu, version::RoomVersion};

type Key = (String, String);

/// The order in which the conflicts are resolved; all other types follow together.
const PASSES: [&str; 3] = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];

/// Resolves states by the first algorithm: the types that decide about authorisation pass by pass, then the rest.
pub(super) fn resolve(
    version: RoomVersion,
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<StateMap, Unresolved> {
    let (mut resolved, conflicts) = split(states);
    let candidates = |ids: &BTreeSet<OwnedEventId>| -> Result<Vec<Pdu>, Unresolved> {
        ids.iter()
            .map(|id| fetch(id).ok_or_else(|| Unresolved::Missing(id.clone())))
            .collect()
    };
    let in_pass = |pass: usize, key: &Key| {
        PASSES
            .iter()
            .position(|of| *of == key.0)
            .unwrap_or(PASSES.len())
            == pass
    };

    for pass in 0..=PASSES.len() {
        // All conflicts of a pass see the state as the passes before left it, so that their order does not matter.
        let mut winners = Vec::new();
        for (key, ids) in conflicts.iter().filter(|(key, _)| in_pass(pass, key)) {
            let candidates = candidates(ids)?;
            let winner = if pass < PASSES.len() {
                last_of_allowed_run(version, key, candidates, &resolved, &fetch)
            } else {
                deepest_allowed(version, candidates, &resolved, &fetch)
            };
            winners.extend(winner.map(|event| (key.clone(), event.event_id().to_owned())));
        }
        resolved.extend(winners);
    }
    Ok(resolved)
}

/// Separates the entries on which the states agree from those on which they do not. An entry that some states lack is no
/// conflict here, unlike in later algorithms.
fn split(states: &[StateMap]) -> (StateMap, BTreeMap<Key, BTreeSet<OwnedEventId>>) {
    let mut candidates: BTreeMap<Key, BTreeSet<OwnedEventId>> = BTreeMap::new();
    for (key, id) in states.iter().flatten() {
        candidates
            .entry(key.clone())
            .or_default()
            .insert(id.clone());
    }
    let mut agreed = StateMap::new();
    candidates.retain(|key, ids| {
        let conflict = ids.len() > 1;
        if !conflict && let Some(id) = ids.pop_first() {
            agreed.insert(key.clone(), id);
        }
        conflict
    });
    (agreed, candidates)
}

/// Starts from the shallowest event and goes on as long as the next one is allowed by the one before it.
fn last_of_allowed_run(
    version: RoomVersion,
    key: &Key,
    mut candidates: Vec<Pdu>,
    resolved: &StateMap,
    fetch: &impl Fn(&EventId) -> Option<Pdu>,
) -> Option<Pdu> {
    candidates
        .sort_by_cached_key(|event| (event.depth(), std::cmp::Reverse(sha1(event.event_id()))));
    let mut candidates = candidates.into_iter();
    let mut last = candidates.next()?;
    for event in candidates {
        let state = |event_type: &str, state_key: &str| {
            if event_type == key.0 && state_key == key.1 {
                return Some(last.clone());
            }
            look_up(resolved, fetch, event_type, state_key)
        };
        if auth::check_state(version, &event, state).is_err() {
            break;
        }
        last = event;
    }
    Some(last)
}

/// The deepest event that the resolved state allows. Where it allows none, the specification is silent; the servers that
/// these rooms live on keep the shallowest one, and so does this.
fn deepest_allowed(
    version: RoomVersion,
    mut candidates: Vec<Pdu>,
    resolved: &StateMap,
    fetch: &impl Fn(&EventId) -> Option<Pdu>,
) -> Option<Pdu> {
    candidates
        .sort_by_cached_key(|event| (std::cmp::Reverse(event.depth()), sha1(event.event_id())));
    let state = |event_type: &str, state_key: &str| look_up(resolved, fetch, event_type, state_key);
    let allowed = candidates
        .iter()
        .find(|event| auth::check_state(version, event, state).is_ok());
    allowed.or(candidates.last()).cloned()
}

fn look_up(
    state: &StateMap,
    fetch: &impl Fn(&EventId) -> Option<Pdu>,
    event_type: &str,
    state_key: &str,
) -> Option<Pdu> {
    fetch(state.get(&(event_type.to_owned(), state_key.to_owned()))?)
}

fn sha1(id: &EventId) -> [u8; 20] {
    Sha1::digest(id.as_bytes()).into()
}
