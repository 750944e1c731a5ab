//! Owns the auth rules on an event that came in, against each state in turn. Must never load anything: it is all there.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#authorization-rules>

use std::collections::HashMap;

use hearth_protocol::{Denied, Pdu, RoomVersion, check_auth_events, check_state};
use ruma::{EventId, OwnedEventId, RoomId};

/// The create event of a room whose id is its hash; nothing in rooms of other versions.
pub(crate) fn create_id(version: RoomVersion, room_id: &RoomId) -> Option<OwnedEventId> {
    if !version.has_hashed_room_ids() {
        return None;
    }
    EventId::parse(format!("${}", room_id.as_str().strip_prefix('!')?)).ok()
}

/// Whether the events that it names allow the event. `known` holds those, and the create event where it is not named.
///
/// # Errors
/// `Denied` when the event has to be rejected.
pub(crate) fn by_auth_events(
    version: RoomVersion,
    pdu: &Pdu,
    known: &HashMap<OwnedEventId, Pdu>,
) -> Result<(), Denied> {
    check_auth_events(version, pdu, |id| known.get(id).cloned())?;
    let create = create_id(version, pdu.room_id());
    let named = pdu.auth_events().iter().chain(&create);
    let state: Vec<&Pdu> = named.filter_map(|id| known.get(id)).collect();
    check_state(version, pdu, |event_type, state_key| {
        state
            .iter()
            .find(|event| event.is(event_type, state_key))
            .map(|event| (*event).clone())
    })
}

/// The events in an order in which each comes after its auth events, as far as those are among them. Events in a circle
/// are left out: they cannot be.
pub(crate) fn in_order(events: HashMap<OwnedEventId, Pdu>) -> Vec<Pdu> {
    sorted(events, |pdu| pdu.auth_events())
}

/// The events in an order in which each comes after those before it in the graph.
pub(crate) fn in_graph_order(events: HashMap<OwnedEventId, Pdu>) -> Vec<Pdu> {
    sorted(events, |pdu| pdu.prev_events())
}

fn sorted(
    mut events: HashMap<OwnedEventId, Pdu>,
    before: impl Fn(&Pdu) -> &[OwnedEventId],
) -> Vec<Pdu> {
    let mut waits: HashMap<OwnedEventId, usize> = HashMap::with_capacity(events.len());
    let mut followers: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    for (id, pdu) in &events {
        let mut inside: Vec<_> = before(pdu)
            .iter()
            .filter(|id| events.contains_key(*id))
            .collect();
        inside.sort_unstable();
        inside.dedup();
        waits.insert(id.clone(), inside.len());
        for earlier in inside {
            followers
                .entry(earlier.clone())
                .or_default()
                .push(id.clone());
        }
    }
    let mut ready: Vec<OwnedEventId> = waits
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(id, _)| id.clone())
        .collect();
    let mut order = Vec::with_capacity(events.len());
    while let Some(id) = ready.pop() {
        for follower in followers.remove(&id).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&follower) {
                *count -= 1;
                if *count == 0 {
                    ready.push(follower);
                }
            }
        }
        order.extend(events.remove(&id));
    }
    order
}
