//! Owns the stored form of an entry: type, state key and event id in as few bytes as is simple. Must never encode the
//! same entry in two ways.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use hearth_store::Error as StoreError;
use ruma::{EventId, OwnedEventId};

/// Types that are written as a number. Part of the stored form: only add at the end, and 63 at most.
const KNOWN_TYPES: [&str; 40] = [
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.third_party_invite",
    "m.room.tombstone",
    "m.room.server_acl",
    "m.room.pinned_events",
    "m.room.policy",
    "m.space.child",
    "m.space.parent",
    "m.policy.rule.user",
    "m.policy.rule.room",
    "m.policy.rule.server",
    "m.call.member",
    "org.matrix.msc3401.call.member",
    "im.vector.modular.widgets",
    "m.room.aliases",
    "m.call",
    "org.matrix.msc3401.call",
    "m.widget",
    "m.bridge",
    "uk.half-shot.bridge",
    "m.beacon_info",
    "org.matrix.msc3672.beacon_info",
    "m.room.retention",
    "io.element.functional_members",
    "io.element.widgets.layout",
    "im.ponies.room_emotes",
    "m.image_pack",
    "org.matrix.room.preview_urls",
    "m.room.related_groups",
    "m.room.bot.options",
];

/// The low bits of an entry's first byte: its type, from 1; 0 for one that is written out.
const TYPE_MASK: u8 = 0x3F;
/// An event id that is written out, as those of room versions 1 and 2.
const ID_TEXT: u8 = 0x00;
/// An event id of room version 4 and later, as the 32 bytes that it stands for.
const ID_URL_SAFE: u8 = 0x40;
/// An event id of room version 3, likewise.
const ID_STANDARD: u8 = 0x80;

/// One piece of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) event_type: Box<str>,
    pub(crate) state_key: Box<str>,
    pub(crate) event_id: OwnedEventId,
}

impl Entry {
    /// What names it: type and state key.
    pub(crate) fn name(&self) -> (&str, &str) {
        (&self.event_type, &self.state_key)
    }

    /// Type, state key, event id.
    pub(crate) fn into_tuple(self) -> (String, String, OwnedEventId) {
        (self.event_type.into(), self.state_key.into(), self.event_id)
    }

    /// How many bytes [`Entry::encode`] adds.
    pub(crate) fn weight(&self) -> usize {
        let mut out = Vec::with_capacity(96);
        self.encode(&mut out);
        out.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let known = KNOWN_TYPES
            .iter()
            .position(|known| *known == &*self.event_type);
        let number = known.and_then(|known| u8::try_from(known + 1).ok());
        let id = self.event_id.as_str();
        let (kind, hash) = hash_of(id);
        out.push(number.unwrap_or(0) | kind);
        if number.is_none() {
            encode_text(out, &self.event_type);
        }
        encode_text(out, &self.state_key);
        match hash {
            Some(hash) => out.extend_from_slice(&hash),
            None => encode_text(out, id),
        }
    }
}

/// An entry where it lies in the bytes of its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryRef<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) state_key: &'a str,
    kind: u8,
    id: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// Takes an entry off the front of `bytes`.
    pub(crate) fn read(bytes: &mut &'a [u8]) -> Result<Self, StoreError> {
        let head = take(bytes, 1)?[0];
        let (number, kind) = (head & TYPE_MASK, head & !TYPE_MASK);
        let event_type = match usize::from(number) {
            0 => take_text(bytes)?,
            known => KNOWN_TYPES.get(known - 1).ok_or_else(malformed)?,
        };
        let state_key = take_text(bytes)?;
        let id = match kind {
            ID_TEXT => take_text(bytes)?.as_bytes(),
            ID_URL_SAFE | ID_STANDARD => take(bytes, 32)?,
            _ => return Err(malformed()),
        };
        Ok(Self {
            event_type,
            state_key,
            kind,
            id,
        })
    }

    pub(crate) fn event_id(&self) -> Result<OwnedEventId, StoreError> {
        let text = match self.kind {
            ID_URL_SAFE => format!("${}", URL_SAFE_NO_PAD.encode(self.id)),
            ID_STANDARD => format!("${}", STANDARD_NO_PAD.encode(self.id)),
            _ => std::str::from_utf8(self.id)
                .map_err(|_| malformed())?
                .to_owned(),
        };
        EventId::parse(text).map_err(|_| malformed())
    }

    pub(crate) fn to_owned(self) -> Result<Entry, StoreError> {
        Ok(Entry {
            event_type: self.event_type.into(),
            state_key: self.state_key.into(),
            event_id: self.event_id()?,
        })
    }
}

/// How the id is written, and the hash that it consists of, if it can be made from it again.
fn hash_of(id: &str) -> (u8, Option<[u8; 32]>) {
    if let Some(text) = id.strip_prefix('$').filter(|text| text.len() == 43) {
        for (kind, decoded) in [
            (ID_URL_SAFE, URL_SAFE_NO_PAD.decode(text)),
            (ID_STANDARD, STANDARD_NO_PAD.decode(text)),
        ] {
            if let Some(hash) = decoded.ok().and_then(|bytes| bytes.try_into().ok()) {
                return (kind, Some(hash));
            }
        }
    }
    (ID_TEXT, None)
}

/// Length in one byte, or two from 128 on; then the text. Types, state keys and ids are 255 bytes at most.
fn encode_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX) & 0x7FFF;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => out.extend_from_slice(&(length | 0x8000).to_be_bytes()),
    }
    out.extend_from_slice(&text.as_bytes()[..usize::from(length).min(text.len())]);
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], StoreError> {
    let (head, tail) = bytes.split_at_checked(n).ok_or_else(malformed)?;
    *bytes = tail;
    Ok(head)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, StoreError> {
    let first = take(bytes, 1)?[0];
    let length = match first & 0x80 {
        0 => usize::from(first),
        _ => usize::from(first & 0x7F) << 8 | usize::from(take(bytes, 1)?[0]),
    };
    std::str::from_utf8(take(bytes, length)?).map_err(|_| malformed())
}

pub(crate) fn malformed() -> StoreError {
    StoreError::Corrupt("a state node is malformed".into())
}
