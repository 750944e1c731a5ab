//! Owns the authorisation rules: which state an event answers to, and whether that state allows it. Must never load
//! anything: the caller passes look-ups.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#authorization-rules> and the rules of each room
//! version

use std::collections::HashMap;

use ruma::{
    EventId, OwnedEventId, RoomId, UserId,
    events::TimelineEventType,
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
    },
};
use serde_json::value::RawValue;

use crate::{errors::Denied, pdu::Pdu, version::RoomVersion};

/// The entries of the room state that an event's auth events come from, as pairs of type and state key.
///
/// # Errors
/// `Denied` when the content is so wrong that the rules cannot be applied, for example a member event that names no
/// membership.
pub fn auth_types(
    event_type: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
    version: RoomVersion,
) -> Result<Vec<(String, String)>, Denied> {
    let event_type = TimelineEventType::from(event_type);
    let types = auth_types_for_event(
        &event_type,
        sender,
        state_key,
        content,
        &version.rules().authorization,
    )
    .map_err(|reason| Denied { reason })?;
    Ok(types
        .into_iter()
        .map(|(event_type, state_key)| (event_type.to_string(), state_key))
        .collect())
}

/// The rules that do not depend on state: the create event's own, and those on the list of auth events. Checked once,
/// on receipt.
///
/// `fetch` finds the auth events and, in room version 12, the create event. Those that were rejected have to be marked
/// so ([`Pdu::marked_rejected`]).
///
/// # Errors
/// `Denied` when the event has to be rejected, also when an auth event is not found.
pub fn check_auth_events(
    version: RoomVersion,
    pdu: &Pdu,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<(), Denied> {
    check_state_independent_auth_rules(&version.rules().authorization, pdu, fetch)
        .map_err(|reason| Denied { reason })
}

/// The rules that depend on state. Checked against the state of the auth events, the state before the event and the
/// current state, each with its own consequence.
///
/// `state` looks up the event at a type and a state key. It is asked for the create event in every room version.
///
/// # Errors
/// `Denied` when that state does not allow the event.
pub fn check_state(
    version: RoomVersion,
    pdu: &Pdu,
    state: impl Fn(&str, &str) -> Option<Pdu>,
) -> Result<(), Denied> {
    let rules = &version.rules().authorization;
    check_state_dependent_auth_rules(rules, pdu, |event_type, state_key| {
        state(&event_type.to_string(), state_key)
    })
    .map_err(|reason| Denied { reason })
}

/// The create event of a room whose id is its hash; nothing in rooms of other versions.
pub fn create_id(version: RoomVersion, room_id: &RoomId) -> Option<OwnedEventId> {
    if !version.has_hashed_room_ids() {
        return None;
    }
    EventId::parse(format!("${}", room_id.as_str().strip_prefix('!')?)).ok()
}

/// [`check_auth_events`], and whether the events that it names allow the event. `known` holds those, and the create event
/// where it is not named.
///
/// # Errors
/// `Denied` when the event has to be rejected.
pub fn check_named(
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

#[cfg(test)]
mod tests;
