//! Owns the form of an answer. Must never hold events as JSON trees: what is stored as JSON is written as it is.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use std::collections::{BTreeMap, BTreeSet};

use hearth_rooms::Counts;
use ruma::{OneTimeKeyAlgorithm, OwnedEventId, OwnedRoomId, OwnedUserId, UInt};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{ShownEvent, Token};

/// What is new for a device.
#[derive(Clone, Debug, Serialize)]
pub struct Response {
    /// From where the next request continues.
    pub next_batch: Token,
    /// By what the user is to them.
    #[serde(skip_serializing_if = "Rooms::is_empty")]
    pub rooms: Rooms,
    /// Global account data.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub account_data: Events<Box<RawValue>>,
    /// Who of those around is there.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub presence: Events<Box<RawValue>>,
    /// Messages to the device.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub to_device: Events<Box<RawValue>>,
    /// Whose keys changed, and whose no longer matter.
    #[serde(skip_serializing_if = "DeviceLists::is_empty")]
    pub device_lists: DeviceLists,
    /// One-time keys that are left.
    pub device_one_time_keys_count: BTreeMap<OneTimeKeyAlgorithm, UInt>,
    /// Fallback keys that nobody claimed.
    pub device_unused_fallback_key_types: Vec<OneTimeKeyAlgorithm>,
}

impl Response {
    /// Whether it tells nothing, so that a request may wait for more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
            && self.account_data.is_empty()
            && self.presence.is_empty()
            && self.to_device.is_empty()
            && self.device_lists.is_empty()
    }

    /// What a device that has this answer is told when nothing is new.
    pub(crate) fn nothing_after(&self) -> Self {
        Self {
            next_batch: self.next_batch,
            rooms: Rooms::default(),
            account_data: Events::default(),
            presence: Events::default(),
            to_device: Events::default(),
            device_lists: DeviceLists::default(),
            device_one_time_keys_count: self.device_one_time_keys_count.clone(),
            device_unused_fallback_key_types: self.device_unused_fallback_key_types.clone(),
        }
    }
}

/// A list under the name `events`.
#[derive(Clone, Debug, Serialize)]
pub struct Events<T> {
    /// In the order in which they are to be taken.
    pub events: Vec<T>,
}

impl<T> Events<T> {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl<T> Default for Events<T> {
    fn default() -> Self {
        Self { events: Vec::new() }
    }
}

impl<T> From<Vec<T>> for Events<T> {
    fn from(events: Vec<T>) -> Self {
        Self { events }
    }
}

/// Rooms by what the user is to them. Once there is one, all four are written: clients count on it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rooms {
    /// Joined.
    pub join: BTreeMap<OwnedRoomId, JoinedRoom>,
    /// Invited.
    pub invite: BTreeMap<OwnedRoomId, InvitedRoom>,
    /// Asked to be invited.
    pub knock: BTreeMap<OwnedRoomId, KnockedRoom>,
    /// Left or banned.
    pub leave: BTreeMap<OwnedRoomId, LeftRoom>,
}

impl Rooms {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.join.is_empty()
            && self.invite.is_empty()
            && self.knock.is_empty()
            && self.leave.is_empty()
    }
}

/// What is new in a joined room.
#[derive(Clone, Debug, Serialize)]
pub struct JoinedRoom {
    /// Who is there; empty when unchanged.
    pub summary: Summary,
    /// The newest events.
    pub timeline: Timeline,
    /// The state that goes with them.
    #[serde(flatten)]
    pub state: State,
    /// Account data of the room.
    pub account_data: Events<Box<RawValue>>,
    /// Receipts and typing.
    pub ephemeral: Events<Box<RawValue>>,
    /// In the whole room, or outside of threads if those are told apart.
    pub unread_notifications: Unread,
    /// By thread, if the client wants those told apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_thread_notifications: BTreeMap<OwnedEventId, Unread>,
}

/// What a client needs to name a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The users after whom a room without a name is called.
    #[serde(rename = "m.heroes", skip_serializing_if = "Option::is_none")]
    pub heroes: Option<Vec<OwnedUserId>>,
    /// How many are joined.
    #[serde(
        rename = "m.joined_member_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub joined: Option<u64>,
    /// How many are invited.
    #[serde(
        rename = "m.invited_member_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub invited: Option<u64>,
}

/// A stretch of events without a gap, up to now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// Oldest first.
    pub events: Vec<ShownEvent>,
    /// Whether there are more between the last token and the first of these.
    pub limited: bool,
    /// Where `/messages` goes on backward.
    pub prev_batch: Token,
}

/// State events, before the timeline or after it.
#[derive(Clone, Debug)]
pub struct State {
    /// As of when.
    pub form: StateForm,
    /// In no particular order.
    pub events: Vec<ShownEvent>,
}

/// As of when the state of a room is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateForm {
    /// At the start of the timeline (`state`).
    #[default]
    Before,
    /// At its end (`state_after`).
    After,
    /// At its end, under the name that MSC4222 had before it was accepted.
    UnstableAfter,
}

impl StateForm {
    /// The field that holds it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Before => "state",
            Self::After => "state_after",
            Self::UnstableAfter => "org.matrix.msc4222.state_after",
        }
    }

    /// Whether it is that of the end.
    #[must_use]
    pub fn is_after(self) -> bool {
        self != Self::Before
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct List<'a> {
            events: &'a [ShownEvent],
        }
        let events = &self.events;
        serializer.collect_map([(self.form.field(), List { events })])
    }
}

/// How much is unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Events that notify.
    pub notification_count: u64,
    /// Events that mention the user.
    pub highlight_count: u64,
}

impl From<Counts> for Unread {
    fn from(counts: Counts) -> Self {
        Self {
            notification_count: counts.notifications,
            highlight_count: counts.highlights,
        }
    }
}

/// An invite.
#[derive(Clone, Debug, Serialize)]
pub struct InvitedRoom {
    /// What the user is shown of the room.
    pub invite_state: Events<Box<RawValue>>,
}

/// A wait for an invite.
#[derive(Clone, Debug, Serialize)]
pub struct KnockedRoom {
    /// What the user is shown of the room.
    pub knock_state: Events<Box<RawValue>>,
}

/// A room up to where the user left.
#[derive(Clone, Debug, Serialize)]
pub struct LeftRoom {
    /// The last events.
    pub timeline: Timeline,
    /// The state that goes with them.
    #[serde(flatten)]
    pub state: State,
    /// Account data of the room.
    pub account_data: Events<Box<RawValue>>,
}

/// Whose keys to ask for again, and whose to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceLists {
    /// Changed, or new to the user's rooms.
    pub changed: BTreeSet<OwnedUserId>,
    /// Share no room any more.
    pub left: BTreeSet<OwnedUserId>,
}

impl DeviceLists {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }
}
