//! Owns the forms in which clients see events. Must never parse the content: it is passed through as it was stored.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-event-format> and
//! <https://spec.matrix.org/latest/client-server-api/#stripped-state>

use std::borrow::Cow;

use ruma::{EventId, MilliSecondsSinceUnixEpoch, RoomId, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::pdu::Pdu;

/// What this server knows about an event and adds under `unsigned`. All fields are left out when empty.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Unsigned<'a> {
    /// Milliseconds since the event was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<i64>,
    /// The requesting user's membership when the event was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<&'a str>,
    /// The content that a state event replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_content: Option<&'a RawValue>,
    /// The sender of the state event that this one replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_sender: Option<&'a UserId>,
    /// The state event that this one replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces_state: Option<&'a EventId>,
    /// The redaction that redacted the event. Left empty, the stored one is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_because: Option<&'a RawValue>,
    /// The transaction id, for the device that sent the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<&'a str>,
    /// The state that an invited user is shown of the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_room_state: Option<&'a [Box<RawValue>]>,
    /// The state that a knocking user is shown of the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knock_room_state: Option<&'a [Box<RawValue>]>,
    /// Bundled aggregations of child events.
    #[serde(rename = "m.relations", skip_serializing_if = "Option::is_none")]
    pub relations: Option<&'a RawValue>,
}

impl Unsigned<'_> {
    fn is_empty(&self) -> bool {
        self.age.is_none()
            && self.membership.is_none()
            && self.prev_content.is_none()
            && self.prev_sender.is_none()
            && self.replaces_state.is_none()
            && self.redacted_because.is_none()
            && self.transaction_id.is_none()
            && self.invite_room_state.is_none()
            && self.knock_room_state.is_none()
            && self.relations.is_none()
    }
}

/// An event in the form that clients see, to be serialised in place: nothing is copied before that.
#[derive(Clone, Debug, Serialize)]
pub struct ClientEvent<'a> {
    content: Cow<'a, RawValue>,
    event_id: &'a EventId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Unsigned::is_empty")]
    unsigned: Unsigned<'a>,
}

impl<'a> ClientEvent<'a> {
    /// The client form of an event. `/sync` leaves out the room id, which is given by the place of the event there.
    pub fn new(pdu: &'a Pdu, with_room_id: bool, unsigned: Option<Unsigned<'a>>) -> Self {
        let mut unsigned = unsigned.unwrap_or_default();
        if unsigned.redacted_because.is_none() {
            unsigned.redacted_because = pdu.unsigned().and_then(redacted_because);
        }
        Self {
            content: content(pdu),
            event_id: pdu.event_id(),
            origin_server_ts: pdu.origin_server_ts(),
            redacts: pdu.redacts(),
            room_id: with_room_id.then(|| pdu.room_id()),
            sender: pdu.sender(),
            state_key: pdu.state_key(),
            event_type: pdu.event_type(),
            unsigned,
        }
    }
}

/// The client form of an event as JSON. See [`ClientEvent`] for a form that needs no allocation of its own.
pub fn client_json(pdu: &Pdu, with_room_id: bool, unsigned: Option<Unsigned<'_>>) -> Box<RawValue> {
    to_json(&ClientEvent::new(pdu, with_room_id, unsigned))
}

/// The stripped form of a state event, shown to users who are not in the room: type, state key, sender and content; of
/// the create event also its time, by which clients tell rooms apart.
pub fn strip(pdu: &Pdu) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Stripped<'a> {
        content: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin_server_ts: Option<MilliSecondsSinceUnixEpoch>,
        sender: &'a UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_key: Option<&'a str>,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    let is_create = pdu.is("m.room.create", "");
    to_json(&Stripped {
        content: pdu.content(),
        origin_server_ts: is_create.then(|| pdu.origin_server_ts()),
        sender: pdu.sender(),
        state_key: pdu.state_key(),
        event_type: pdu.event_type(),
    })
}

/// The form in which an event goes to other servers: as stored, without `unsigned`.
pub fn federation_json(pdu: &Pdu) -> Box<RawValue> {
    let stored = match pdu.unsigned() {
        // Redacted events only, so the parsing is rare.
        Some(_) => pdu.object().ok().and_then(|mut object| {
            object.remove("unsigned");
            to_raw_value(&object).ok()
        }),
        None => RawValue::from_string(pdu.json().to_owned()).ok(),
    };
    stored.unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// The content for clients. Room versions before 11 keep `redacts` beside the content; newer clients look inside, so it
/// is written there too.
fn content(pdu: &Pdu) -> Cow<'_, RawValue> {
    let (false, Some(redacts)) = (pdu.redacts_in_content(), pdu.redacts()) else {
        return Cow::Borrowed(pdu.content());
    };
    let stored = pdu.content().get();
    if serde_json::from_str::<HasRedacts>(stored).is_ok_and(|content| content.redacts.is_some()) {
        return Cow::Borrowed(pdu.content());
    }
    let (Ok(redacts), Some(rest)) = (serde_json::to_string(redacts), stored.strip_prefix('{'))
    else {
        return Cow::Borrowed(pdu.content());
    };
    let comma = if rest.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    match RawValue::from_string(format!("{{\"redacts\":{redacts}{comma}{rest}")) {
        Ok(content) => Cow::Owned(content),
        Err(_) => Cow::Borrowed(pdu.content()),
    }
}

#[derive(serde::Deserialize)]
struct HasRedacts {
    redacts: Option<serde::de::IgnoredAny>,
}

fn redacted_because(unsigned: &RawValue) -> Option<&RawValue> {
    #[derive(serde::Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        redacted_because: Option<&'a RawValue>,
    }
    serde_json::from_str::<Stored<'_>>(unsigned.get())
        .ok()?
        .redacted_because
}

fn to_json(form: &impl Serialize) -> Box<RawValue> {
    // Strings, integers and raw JSON always serialise.
    to_raw_value(form).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests;
