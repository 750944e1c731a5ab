//! Owns who is typing. Ephemeral: a change is found by its stamp, and the end of one whose time ran out, which leaves no
//! stamp, by a bounded memory of what each device was last told. Must never be relied upon: all of it may be lost.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#typing-notifications>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hearth_rooms::TypingStamp;
use hearth_users::Session;
use quick_cache::sync::Cache;
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, filter, window::Reading};

/// Of how many devices is remembered what they were told.
const DEVICES: usize = 10_000;

/// Who types where.
type Told = BTreeMap<OwnedRoomId, BTreeSet<OwnedUserId>>;

/// What each device was told of those who type; empty rooms aside.
pub(crate) struct ShownTyping(Cache<(OwnedUserId, OwnedDeviceId), Arc<Told>>);

impl Default for ShownTyping {
    fn default() -> Self {
        Self(Cache::new(DEVICES))
    }
}

impl ShownTyping {
    /// Whether the device believes that somebody types, so that it has to hear of the end.
    pub(crate) fn is_watched(&self, session: &Session) -> bool {
        self.told(session).is_some()
    }

    fn told(&self, session: &Session) -> Option<Arc<Told>> {
        self.0
            .get(&(session.user_id.clone(), session.device_id.clone()))
    }

    fn set(&self, session: &Session, told: Told) {
        let key = (session.user_id.clone(), session.device_id.clone());
        if told.is_empty() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, Arc::new(told));
        }
    }
}

/// Who types, in the rooms where that changed.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    rooms: BTreeMap<OwnedRoomId, Box<RawValue>>,
    /// Everything at or below it was told.
    pub(crate) stamp: TypingStamp,
}

impl Typing {
    /// Whether that changed in a room.
    pub(crate) fn tells_of(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// Who types in a room, if that changed.
    pub(crate) fn take(&mut self, room: &RoomId) -> Option<Box<RawValue>> {
        self.rooms.remove(room)
    }
}

/// What changed since the last answer in these rooms.
pub(crate) async fn read(
    reading: &Reading<'_>,
    rooms: impl Iterator<Item = &RoomId>,
) -> Result<Typing, Error> {
    let filter = &reading.request.filter.room;
    let since = reading
        .request
        .since
        .map_or(TypingStamp::default(), |since| since.typed);
    let mut typing = Typing {
        stamp: since,
        ..Typing::default()
    };
    if !filter::passes_type(&filter.ephemeral, "m.typing") {
        return Ok(typing);
    }
    let memory = &reading.shared.typing;
    let before = match reading.request.since {
        Some(_) => memory.told(reading.session).unwrap_or_default(),
        None => Arc::default(),
    };
    let mut told = Told::new();
    let rooms: Vec<&RoomId> = rooms
        .filter(|id| {
            filter::passes_room(filter, id) && filter::passes_section(&filter.ephemeral, id)
        })
        .collect();
    let stamps = reading.rooms().typing_stamps(&rooms).await?;
    for (id, stamp) in rooms.into_iter().zip(stamps) {
        let known = before.get(id);
        if stamp <= since && known.is_none() {
            continue;
        }
        let (users, stamp) = reading.rooms().typing(id).await?;
        let users: BTreeSet<_> = users.into_iter().collect();
        let is_news = stamp > since || known != Some(&users);
        if is_news && !(users.is_empty() && known.is_none() && reading.since().is_none()) {
            typing.rooms.insert(id.to_owned(), event(&users));
        }
        typing.stamp = typing.stamp.max(stamp);
        if !users.is_empty() {
            told.insert(id.to_owned(), users);
        }
    }
    memory.set(reading.session, told);
    Ok(typing)
}

fn event(users: &BTreeSet<OwnedUserId>) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Content<'a> {
        user_ids: &'a BTreeSet<OwnedUserId>,
    }
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        content: Content<'a>,
    }
    let event = Event {
        kind: "m.typing",
        content: Content { user_ids: users },
    };
    // Strings always serialise.
    to_raw_value(&event).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
