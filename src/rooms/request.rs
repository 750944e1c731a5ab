//! Owns what can be asked of a room, as values. Must never read or write anything.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#sending-events-to-a-room>

use hearth_protocol::RoomVersion;
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value, value::RawValue};

use crate::{Membership, Transaction};

/// An event to be sent by a user of this server: a message, state or a redaction.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Where.
    pub room_id: OwnedRoomId,
    /// Who.
    pub sender: OwnedUserId,
    /// For example `m.room.message`.
    pub event_type: String,
    /// Given for state events.
    pub state_key: Option<String>,
    /// A JSON object.
    pub content: Box<RawValue>,
    /// The event that a redaction empties.
    pub redacts: Option<OwnedEventId>,
    /// The request, for one that may be repeated.
    pub transaction: Option<Transaction>,
    /// When it happened, for those who may say so; now otherwise.
    pub timestamp: Option<MilliSecondsSinceUnixEpoch>,
}

impl NewEvent {
    /// A message event.
    pub fn message(
        room_id: OwnedRoomId,
        sender: OwnedUserId,
        event_type: impl Into<String>,
        content: Box<RawValue>,
    ) -> Self {
        Self {
            room_id,
            sender,
            event_type: event_type.into(),
            state_key: None,
            content,
            redacts: None,
            transaction: None,
            timestamp: None,
        }
    }

    /// A state event.
    pub fn state(
        room_id: OwnedRoomId,
        sender: OwnedUserId,
        event_type: impl Into<String>,
        state_key: impl Into<String>,
        content: Box<RawValue>,
    ) -> Self {
        Self {
            state_key: Some(state_key.into()),
            ..Self::message(room_id, sender, event_type, content)
        }
    }
}

/// How a user is shown: goes into the content of member events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The display name.
    pub displayname: Option<String>,
    /// An `mxc://` address.
    pub avatar_url: Option<String>,
}

/// What is to be done to a user's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The target joins, by themselves.
    Join,
    /// The target leaves, rejects an invite or takes back a knock, by themselves.
    Leave,
    /// The target is invited.
    Invite,
    /// The target is removed, or loses the invite.
    Kick,
    /// The target is removed and kept out.
    Ban,
    /// The target may come back.
    Unban,
    /// The target asks to be invited, by themselves.
    Knock,
}

/// A change of a membership.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// Where.
    pub room_id: OwnedRoomId,
    /// Who does it.
    pub sender: OwnedUserId,
    /// To whom; the sender themselves for [`Act::Join`], [`Act::Leave`] and [`Act::Knock`].
    pub target: OwnedUserId,
    /// What.
    pub act: Act,
    /// Why, as the sender says.
    pub reason: Option<String>,
    /// How the target is shown.
    pub profile: Profile,
    /// For an invite: whether the room is meant as a direct chat.
    pub is_direct: bool,
    /// For an invite of who was invited by an address: the proof, as it goes into the content of the event.
    pub third_party_invite: Option<Value>,
    /// More for the content of the event; what the other fields say wins.
    pub further: Map<String, Value>,
}

impl MemberChange {
    /// A change that a user makes to themselves.
    pub fn own(room_id: OwnedRoomId, user: OwnedUserId, act: Act) -> Self {
        Self::of(room_id, user.clone(), user, act)
    }

    /// A change that a user makes to another.
    pub fn of(room_id: OwnedRoomId, sender: OwnedUserId, target: OwnedUserId, act: Act) -> Self {
        Self {
            room_id,
            sender,
            target,
            act,
            reason: None,
            profile: Profile::default(),
            is_direct: false,
            third_party_invite: None,
            further: Map::new(),
        }
    }
}

impl Act {
    /// The membership that the target has afterwards.
    pub(crate) fn result(self) -> Membership {
        match self {
            Self::Join => Membership::Join,
            Self::Invite => Membership::Invite,
            Self::Ban => Membership::Ban,
            Self::Knock => Membership::Knock,
            Self::Leave | Self::Kick | Self::Unban => Membership::Leave,
        }
    }
}

/// The settings that a new room starts from.
///
/// Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3createroom>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// By invitation.
    PrivateChat,
    /// By invitation, and whoever is invited may do what the creator may.
    TrustedPrivateChat,
    /// Open to all.
    PublicChat,
}

/// A state event that a new room starts with.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// The type.
    pub event_type: String,
    /// The state key, empty by default.
    pub state_key: String,
    /// A JSON object.
    pub content: Box<RawValue>,
}

/// A room to be made.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Who makes it and joins it.
    pub creator: OwnedUserId,
    /// How the creator is shown.
    pub profile: Profile,
    /// Its version; the default one if absent.
    pub version: Option<RoomVersion>,
    /// What it starts from; by its visibility if absent.
    pub preset: Option<Preset>,
    /// Whether it is listed in the public directory.
    pub is_public: bool,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// The part of its alias before the colon, without `#`.
    pub alias: Option<String>,
    /// Whom to invite, with how each is shown.
    pub invite: Vec<(OwnedUserId, Profile)>,
    /// Whether the invites are to a direct chat.
    pub is_direct: bool,
    /// State that replaces what the preset says.
    pub initial_state: Vec<InitialState>,
    /// More for the content of `m.room.create`: a JSON object.
    pub creation_content: Option<Box<RawValue>>,
    /// Replaces the entries of the default `m.room.power_levels`: a JSON object.
    pub power_levels: Option<Box<RawValue>>,
}

impl NewRoom {
    /// A private room of the default version.
    pub fn by(creator: OwnedUserId) -> Self {
        Self {
            creator,
            profile: Profile::default(),
            version: None,
            preset: None,
            is_public: false,
            name: None,
            topic: None,
            alias: None,
            invite: Vec::new(),
            is_direct: false,
            initial_state: Vec::new(),
            creation_content: None,
            power_levels: None,
        }
    }
}
