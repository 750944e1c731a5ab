//! Owns resolution for callers who know what differs and nothing else. Must never ask for whole states: a room may have a hundred
//! thousand entries in a thousand states.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#definitions>

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::{EventId, OwnedEventId};

use super::{StateMap, conflicted_subgraph, first, refuse_circles, resolve};
use crate::{errors::Unresolved, pdu::Pdu, version::RoomVersion};

/// In what several states of a room differ.
#[derive(Clone, Debug, Default)]
pub struct Conflict {
    /// Entries that are the same in all states, as far as the rules on an event in question ask for them: those of
    /// [`crate::auth_types`] of each event of `entries` and `difference`, and the create event. More do no harm.
    pub agreed: StateMap,
    /// Each entry at which the states differ, with all events that are there in one of them. If some states lack it, it may be
    /// one event.
    pub entries: HashMap<(String, String), BTreeSet<OwnedEventId>>,
    /// The auth difference: the events that some of the states hold, or that vouch for an event of some, and not of all
    /// ([`super::auth_chains`]). Those of `entries` may be left out; room version 1 does not look at it.
    pub difference: HashSet<OwnedEventId>,
}

/// What the algorithm of the room version decides for the entries at which states differ; those that come out empty are
/// missing. The same as [`resolve`] for the whole states. `fetch` finds the events of `conflict` and what vouches for those that are
/// no agreed ones, recursively; of an agreed `m.room.power_levels` its mainline and what vouches for that.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_conflict(
    version: RoomVersion,
    conflict: Conflict,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<StateMap, Unresolved> {
    let Conflict {
        agreed,
        entries,
        mut difference,
    } = conflict;
    let mut resolved = if version.has_first_resolution() {
        let most = entries
            .values()
            .map(BTreeSet::len)
            .max()
            .unwrap_or_default();
        let states: Vec<_> = (0..most.max(2))
            .map(|number| state_of(&agreed, &entries, number))
            .collect();
        first::resolve(version, &states, fetch)?
    } else {
        // An entry is in conflict if two states differ there. Its further events need no states of their own: what counts is
        // that they are in the full conflicted set, in which the algorithm does not tell them from the auth difference.
        let states = [0, 1].map(|number| state_of(&agreed, &entries, number));
        let further = entries.values().flat_map(|events| events.iter().skip(2));
        difference.extend(further.cloned());
        if version.has_explicit_event_ids() {
            refuse_circles(difference.iter(), &fetch)?;
        }
        let conflicted: HashSet<_> = entries.values().flatten().cloned().collect();
        let chains = vec![difference, HashSet::new()];
        resolve(version, &states, chains, &fetch, |_| {
            conflicted_subgraph(&conflicted, &fetch)
        })?
    };
    resolved.retain(|key, _| entries.contains_key(key));
    Ok(resolved)
}

/// The agreed entries, and of the others the event of this number, if there is one.
fn state_of(
    agreed: &StateMap,
    entries: &HashMap<(String, String), BTreeSet<OwnedEventId>>,
    number: usize,
) -> StateMap {
    let differing = entries
        .iter()
        .filter_map(|(key, events)| Some((key.clone(), events.iter().nth(number)?.clone())));
    let mut state = agreed.clone();
    state.extend(differing);
    state
}
