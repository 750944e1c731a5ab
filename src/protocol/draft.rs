//! Owns the making of events: from a draft to a hashed, signed event with an id. Must never read a clock, draw
//! randomness or look at state: all of that comes with the draft.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#signing-events>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId,
};
use serde_json::value::RawValue;

use crate::{
    canonical,
    errors::Malformed,
    key::SigningKey,
    pdu::{Depth, Pdu},
    signature,
    version::RoomVersion,
};

/// What goes into a new event.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The room. `None` for the create event of room version 12, whose room id follows from it; ignored there if given.
    pub room_id: Option<OwnedRoomId>,
    /// Who sends it.
    pub sender: OwnedUserId,
    /// For example `m.room.message`.
    pub event_type: String,
    /// Given for state events.
    pub state_key: Option<String>,
    /// A JSON object. In room version 11 and later, [`seal`] adds `redacts` to it.
    pub content: Box<RawValue>,
    /// The event that a redaction redacts. [`seal`] writes it where the room version wants it.
    pub redacts: Option<OwnedEventId>,
    /// Now, in milliseconds since the epoch.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// The forward extremities, at most 20.
    pub prev_events: Vec<OwnedEventId>,
    /// The events at [`crate::auth_types`] in the state before the event. [`seal`] leaves out the create event where
    /// the room version forbids it.
    pub auth_events: Vec<OwnedEventId>,
    /// One more than the greatest depth of the previous events.
    pub depth: Depth,
    /// The part of the event id before the colon, unique on this server. Read in room versions 1 and 2 only.
    pub local_id: String,
    /// The [`crate::reference_hash`] of the previous and auth events, where known. Read in room versions 1 and 2 only,
    /// which repeat them beside the ids.
    pub reference_hashes: Vec<(OwnedEventId, String)>,
}

impl Draft {
    /// A draft with the fields that every event has; the rest is empty.
    pub fn new(
        sender: OwnedUserId,
        event_type: impl Into<String>,
        content: Box<RawValue>,
        origin_server_ts: MilliSecondsSinceUnixEpoch,
    ) -> Self {
        Self {
            room_id: None,
            sender,
            event_type: event_type.into(),
            state_key: None,
            content,
            redacts: None,
            origin_server_ts,
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: Depth(1),
            local_id: String::new(),
            reference_hashes: Vec::new(),
        }
    }
}

/// Hashes and signs a draft, and gives it its id.
///
/// # Errors
/// `Malformed` when the draft cannot be an event of this room version: content that is not canonical JSON, a field or
/// the whole too long, too many previous events.
pub fn seal(draft: Draft, version: RoomVersion, key: &SigningKey) -> Result<Pdu, Malformed> {
    let mut object = assemble(draft, version, key)?;
    signature::sign_event(&mut object, version, key)?;
    Pdu::from_object(&object, version)
}

/// The event without its hash and signature.
fn assemble(
    draft: Draft,
    version: RoomVersion,
    key: &SigningKey,
) -> Result<CanonicalJsonObject, Malformed> {
    let mut content = canonical::check_content(&draft.content)?;
    let mut object = CanonicalJsonObject::new();
    let mut put = |field: &str, value: CanonicalJsonValue| object.insert(field.to_owned(), value);

    if let Some(redacts) = &draft.redacts {
        if version.rules().redaction.content_field_redacts {
            content.insert("redacts".to_owned(), redacts.as_str().into());
        } else {
            // Clients may have written it there, as newer versions do.
            content.remove("redacts");
            put("redacts", redacts.as_str().into());
        }
    }
    let is_create = draft.event_type == "m.room.create" && draft.state_key.as_deref() == Some("");
    let mut auth_events = draft.auth_events;
    match &draft.room_id {
        Some(room_id) if version.has_hashed_room_ids() => {
            let create = room_id.as_str().strip_prefix('!').unwrap_or_default();
            auth_events.retain(|id| id.as_str().strip_prefix('$') != Some(create));
            if !is_create {
                put("room_id", room_id.as_str().into());
            }
        }
        Some(room_id) => {
            put("room_id", room_id.as_str().into());
        }
        None if version.has_hashed_room_ids() && is_create => {}
        None => return Err(Malformed::format("the draft names no room")),
    }
    if version.has_explicit_event_ids() {
        if draft.local_id.is_empty() || draft.local_id.contains([':', '\0']) {
            return Err(Malformed::format("room versions 1 and 2 need a local id"));
        }
        put(
            "event_id",
            format!("${}:{}", draft.local_id, key.server())
                .as_str()
                .into(),
        );
    }
    if let Some(state_key) = draft.state_key {
        put("state_key", CanonicalJsonValue::String(state_key));
    }
    put("type", CanonicalJsonValue::String(draft.event_type));
    put("sender", draft.sender.as_str().into());
    put("origin_server_ts", draft.origin_server_ts.get().into());
    let depth = ruma::UInt::new_saturating(draft.depth.0);
    put("depth", depth.into());
    put(
        "prev_events",
        references(&draft.prev_events, &draft.reference_hashes, version),
    );
    put(
        "auth_events",
        references(&auth_events, &draft.reference_hashes, version),
    );
    put("content", CanonicalJsonValue::Object(content));
    Ok(object)
}

/// References to other events in the form that the room version has.
fn references(
    ids: &[OwnedEventId],
    hashes: &[(OwnedEventId, String)],
    version: RoomVersion,
) -> CanonicalJsonValue {
    let one = |id: &OwnedEventId| -> CanonicalJsonValue {
        if !version.has_hashed_references() {
            return id.as_str().into();
        }
        let hash = hashes.iter().find(|(of, _)| of == id);
        let hash = hash.map(|(_, hash)| {
            (
                "sha256".to_owned(),
                CanonicalJsonValue::String(hash.clone()),
            )
        });
        vec![
            id.as_str().into(),
            CanonicalJsonValue::Object(hash.into_iter().collect()),
        ]
        .into()
    };
    CanonicalJsonValue::Array(ids.iter().map(one).collect())
}

#[cfg(test)]
mod tests;
