//! Owns the orders in which events that came in are looked at. Must never go round in a circle of events.

use std::collections::HashMap;

use hearth_protocol::Pdu;
use ruma::OwnedEventId;

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
