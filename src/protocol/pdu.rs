//! Owns the event as it is stored and shared: its canonical JSON and the few fields that the rules look at. Must never
//! change the JSON after construction, and must never trust it before `parse` has checked it.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#pdus> and the event format of each room version,
//! <https://spec.matrix.org/latest/rooms/>

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId,
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::TimelineEventType,
    state_res::{Event, check_pdu_format},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{canonical, errors::Malformed, redaction, version::RoomVersion};

/// The most bytes that an event may have as canonical JSON, signatures included.
pub const MAX_EVENT_BYTES: usize = 65_535;

/// The most bytes that an identifier, an event type or a state key may have.
pub const MAX_FIELD_BYTES: usize = 255;

/// The distance of an event from the create event in the graph of events, at least 1 for all but the create event of
/// some servers. Other servers may lie about it, so it orders pages and decides nothing that needs trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct Depth(pub u64);

impl Depth {
    /// The greatest depth that canonical JSON can carry; a room that has reached it stays there.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The depth of an event whose deepest predecessor has this depth.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1).min(Self::MAX.0))
    }
}

/// An event as it is stored and sent to other servers. Cloning costs one reference count.
#[derive(Clone)]
pub struct Pdu {
    event: Arc<Fields>,
    /// Kept beside the event since it is a judgement of this server, not part of the event.
    rejected: bool,
}

struct Fields {
    json: Box<str>,
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    /// False for the create event of version 12, whose room id is its own hash.
    names_room: bool,
    event_type: Box<str>,
    /// Ruma's form of the type, made when a rule first asks for it.
    rule_type: OnceLock<TimelineEventType>,
    state_key: Option<Box<str>>,
    sender: OwnedUserId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: Depth,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    redacts: Option<OwnedEventId>,
    redacts_in_content: bool,
    content: Box<RawValue>,
    unsigned: Option<Box<RawValue>>,
}

impl Pdu {
    /// Reads an event from another server, checks its format and limits, and computes its id. `unsigned` is dropped:
    /// nothing vouches for it.
    ///
    /// # Errors
    /// `Malformed` when the event has to be dropped.
    pub fn parse(json: &[u8], version: RoomVersion) -> Result<Self, Malformed> {
        let mut object = canonical::parse_object(json)?;
        object.remove("unsigned");
        Self::from_object(&object, version)
    }

    /// As [`Pdu::parse`], for a caller that holds the object already. Keeps `unsigned`.
    pub(crate) fn from_object(
        object: &CanonicalJsonObject,
        version: RoomVersion,
    ) -> Result<Self, Malformed> {
        let json = canonical::to_text(object)?;
        check_format(object, json.len(), version)?;
        let event_id = event_id_of(object, version)?;
        Self::read(event_id, json.into_boxed_str(), version)
    }

    /// Reads an event from this server's own store: no hashing and no checks beyond what reading needs.
    ///
    /// # Errors
    /// `Malformed` when the stored bytes are not an event. For the caller that means a corrupt store.
    pub fn from_stored(
        event_id: OwnedEventId,
        json: &[u8],
        version: RoomVersion,
    ) -> Result<Self, Malformed> {
        let json = std::str::from_utf8(json).map_err(Malformed::format)?;
        Self::read(event_id, json.into(), version)
    }

    /// Marks the event as one that did not pass the checks on receipt, which some rules ask for.
    pub fn marked_rejected(self, rejected: bool) -> Self {
        Self { rejected, ..self }
    }

    fn read(
        event_id: OwnedEventId,
        json: Box<str>,
        version: RoomVersion,
    ) -> Result<Self, Malformed> {
        let wire: Wire<'_> = serde_json::from_str(&json).map_err(Malformed::format)?;
        let names_room = wire.room_id.is_some();
        let room_id = match wire.room_id {
            Some(room_id) => room_id,
            None if version.has_hashed_room_ids()
                && wire.event_type.as_ref() == "m.room.create" =>
            {
                RoomId::parse(format!("!{}", &event_id.as_str()[1..])).map_err(Malformed::format)?
            }
            None => return Err(Malformed::format("`room_id` is missing")),
        };
        let redacts_in_content = version.rules().redaction.content_field_redacts;
        let redacts = if wire.event_type.as_ref() != "m.room.redaction" {
            None
        } else if redacts_in_content {
            serde_json::from_str::<RedactsField<'_>>(wire.content.get())
                .ok()
                .and_then(|content| content.redacts)
        } else {
            wire.redacts
        };
        // A redaction that names no event redacts none; that is no reason to drop it.
        let redacts = redacts.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let event = Fields {
            event_id,
            room_id,
            names_room,
            event_type: wire.event_type,
            rule_type: OnceLock::new(),
            state_key: wire.state_key,
            sender: wire.sender,
            origin_server_ts: wire.origin_server_ts,
            depth: wire.depth,
            prev_events: wire
                .prev_events
                .into_iter()
                .map(|reference| reference.0)
                .collect(),
            auth_events: wire
                .auth_events
                .into_iter()
                .map(|reference| reference.0)
                .collect(),
            redacts,
            redacts_in_content,
            content: wire.content.to_owned(),
            unsigned: wire.unsigned.map(ToOwned::to_owned),
            json,
        };
        Ok(Self {
            event: Arc::new(event),
            rejected: false,
        })
    }

    /// The event id: a hash of the event, save in room versions 1 and 2.
    pub fn event_id(&self) -> &EventId {
        &self.event.event_id
    }

    /// The room, also for the create event of version 12, which does not name it.
    pub fn room_id(&self) -> &RoomId {
        &self.event.room_id
    }

    /// The type, for example `m.room.message`.
    pub fn event_type(&self) -> &str {
        &self.event.event_type
    }

    /// The state key, present on state events only.
    pub fn state_key(&self) -> Option<&str> {
        self.event.state_key.as_deref()
    }

    /// Whether this is a state event.
    pub fn is_state(&self) -> bool {
        self.event.state_key.is_some()
    }

    /// Whether this is the state event of the given type and state key.
    pub fn is(&self, event_type: &str, state_key: &str) -> bool {
        self.event_type() == event_type && self.state_key() == Some(state_key)
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        &self.event.sender
    }

    /// When the sender's server says that it was made, in milliseconds since the epoch.
    pub fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.event.origin_server_ts
    }

    /// Its depth, as the sender's server says.
    pub fn depth(&self) -> Depth {
        self.event.depth
    }

    /// The events directly before it.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.event.prev_events
    }

    /// The state events that it claims to be allowed by.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.event.auth_events
    }

    /// The event that this redaction names, wherever the room version keeps it.
    pub fn redacts(&self) -> Option<&EventId> {
        self.event.redacts.as_deref()
    }

    /// Whether the room version keeps `redacts` in the content.
    pub(crate) fn redacts_in_content(&self) -> bool {
        self.event.redacts_in_content
    }

    /// The content, as it was written.
    pub fn content(&self) -> &RawValue {
        &self.event.content
    }

    /// What is stored under `unsigned`: nothing, or `redacted_because` for a redacted event.
    pub fn unsigned(&self) -> Option<&RawValue> {
        self.event.unsigned.as_deref()
    }

    /// The canonical JSON, as it is stored.
    pub fn json(&self) -> &str {
        &self.event.json
    }

    /// About how many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        let fields = &*self.event;
        let texts = [
            &*fields.json,
            fields.content.get(),
            &fields.event_type,
            fields.state_key.as_deref().unwrap_or_default(),
            fields
                .unsigned
                .as_ref()
                .map_or("", |unsigned| unsigned.get()),
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        // Room, sender, the event itself and what it names: each on its own, with counts of references.
        let ids = 4 + fields.prev_events.len() + fields.auth_events.len();
        size_of::<Fields>() + texts + ids * 80
    }

    /// Whether [`Pdu::marked_rejected`] marked it.
    pub fn is_rejected(&self) -> bool {
        self.rejected
    }

    /// The canonical object behind [`Pdu::json`].
    pub(crate) fn object(&self) -> Result<CanonicalJsonObject, Malformed> {
        canonical::parse_object(self.json().as_bytes())
    }
}

impl PartialEq for Pdu {
    fn eq(&self, other: &Self) -> bool {
        self.event.event_id == other.event.event_id && self.event.json == other.event.json
    }
}

impl Eq for Pdu {}

impl fmt::Debug for Pdu {
    /// Without the content, which is the users'.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pdu")
            .field("event_id", &self.event_id())
            .field("type", &self.event_type())
            .field("state_key", &self.state_key())
            .field("sender", &self.sender())
            .finish_non_exhaustive()
    }
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.event.names_room.then_some(&*self.event.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.event.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.event.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        self.event
            .rule_type
            .get_or_init(|| TimelineEventType::from(&*self.event.event_type))
    }

    fn content(&self) -> &RawValue {
        &self.event.content
    }

    fn state_key(&self) -> Option<&str> {
        self.event.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.event.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.event.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.event.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// The fields that are read from the JSON, in its own form.
#[derive(Deserialize)]
struct Wire<'a> {
    room_id: Option<OwnedRoomId>,
    #[serde(rename = "type")]
    event_type: Box<str>,
    state_key: Option<Box<str>>,
    sender: OwnedUserId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: Depth,
    prev_events: Vec<Reference>,
    auth_events: Vec<Reference>,
    #[serde(borrow)]
    redacts: Option<&'a RawValue>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow)]
    unsigned: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RedactsField<'a> {
    #[serde(borrow)]
    redacts: Option<&'a RawValue>,
}

/// A reference to another event: its id, or in room versions 1 and 2 a pair of id and hashes.
struct Reference(OwnedEventId);

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherForm;

        impl<'de> Visitor<'de> for EitherForm {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event id, or a pair of event id and hashes")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<Reference, E> {
                EventId::parse(id).map(Reference).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Reference, A::Error> {
                let id = pair
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(0, &self))?;
                while pair.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Reference(id))
            }
        }

        deserializer.deserialize_any(EitherForm)
    }
}

/// Checks what the event format of the room version demands, the size of the whole and of its fields included.
fn check_format(
    object: &CanonicalJsonObject,
    bytes: usize,
    version: RoomVersion,
) -> Result<(), Malformed> {
    if bytes > MAX_EVENT_BYTES {
        return Err(Malformed::too_large(format!(
            "the event has {bytes} bytes, at most {MAX_EVENT_BYTES} are allowed"
        )));
    }
    for field in ["type", "sender", "room_id", "state_key", "event_id"] {
        // Rooms of older versions hold events whose fields were measured in characters.
        let length = |text: &str| match version.measures_fields_in_bytes() {
            true => text.len(),
            false => text.chars().count(),
        };
        if canonical::optional_string(object, field)?
            .is_some_and(|text| length(text) > MAX_FIELD_BYTES)
        {
            return Err(Malformed::too_large(format!(
                "`{field}` has more than {MAX_FIELD_BYTES} bytes"
            )));
        }
    }
    if !matches!(object.get("content"), Some(CanonicalJsonValue::Object(_))) {
        return Err(Malformed::format("`content` is not an object"));
    }
    for field in ["prev_events", "auth_events"] {
        let references = object
            .get(field)
            .and_then(CanonicalJsonValue::as_array)
            .unwrap_or_default();
        if references
            .iter()
            .any(|reference| reference.is_array() != version.has_hashed_references())
        {
            return Err(Malformed::format(format!(
                "`{field}` is not in the format of room version {version}"
            )));
        }
    }
    check_pdu_format(&in_bytes(object), &version.rules().event_format).map_err(Malformed::format)
}

/// The event for a check that measures it in bytes whatever the version: without those fields that are too long for that
/// alone, of which nothing else is asked.
fn in_bytes(object: &CanonicalJsonObject) -> Cow<'_, CanonicalJsonObject> {
    let mut short = Cow::Borrowed(object);
    for field in ["type", "state_key"] {
        if let Some(CanonicalJsonValue::String(text)) = object.get(field)
            && text.len() > MAX_FIELD_BYTES
        {
            let nothing = CanonicalJsonValue::String(String::new());
            short.to_mut().insert(field.into(), nothing);
        }
    }
    short
}

/// The id of an event: its own field in room versions 1 and 2, its reference hash since.
fn event_id_of(
    object: &CanonicalJsonObject,
    version: RoomVersion,
) -> Result<OwnedEventId, Malformed> {
    if version.has_explicit_event_ids() {
        return EventId::parse(canonical::string(object, "event_id")?).map_err(Malformed::format);
    }
    let object = redaction::without_stray_invite(object, version);
    let hash =
        ruma::signatures::reference_hash(&object, version.rules()).map_err(Malformed::format)?;
    EventId::parse(format!("${hash}")).map_err(Malformed::format)
}

#[cfg(test)]
mod tests;
