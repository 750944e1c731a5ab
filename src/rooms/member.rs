//! Owns the index of memberships: who is what in which room, by room and by user. It repeats the current state for
//! quick answers. Must never be written but together with the event that it repeats.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-membership>

use hearth_store::{Family, Part, Position, ReadPart, Reader, Table, Writer};
use ruma::{OwnedEventId, OwnedUserId};

/// (room, user) to membership.
pub(crate) const MEMBERS: Table<(String, String), Member> =
    Table::new(89, "members", Family::Index);

/// (user, room) to membership; without the rooms that the user forgot.
pub(crate) const USER_ROOMS: Table<(String, String), Member> =
    Table::new(90, "user_rooms", Family::Index);

/// (user, where in the log they were out, room): the rooms that the user forgot.
pub(crate) const FORGOTTEN: Table<(String, Position, String), ()> =
    Table::new(110, "forgotten", Family::Index);

/// (room, user): the joined users of this server.
pub(crate) const LOCAL_JOINED: Table<(String, String), ()> =
    Table::new(91, "local_joined", Family::Index);

/// What a user is to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Membership {
    /// Was there or was invited, or was never heard of.
    Leave,
    /// Takes part.
    Join,
    /// May join.
    Invite,
    /// Asks to be invited.
    Knock,
    /// Must stay out.
    Ban,
}

impl Membership {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Leave,
        Self::Join,
        Self::Invite,
        Self::Knock,
        Self::Ban,
    ];

    /// The word in the content of `m.room.member`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Knock => "knock",
            Self::Ban => "ban",
        }
    }

    /// What `word` means; nothing for an unknown word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str() == word)
    }
}

/// The current membership of a user in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub membership: Membership,
    /// The position of the event that made it so, or showed the user in another way since.
    pub position: Position,
    /// The position since when it is so without a break.
    pub since: Position,
    /// That event.
    pub event_id: OwnedEventId,
    /// Who sent it.
    pub sender: OwnedUserId,
}

impl Part for Member {
    fn write(&self, w: &mut Writer) {
        (
            self.membership as u8,
            self.position,
            self.since,
            self.event_id.as_str(),
            self.sender.as_str(),
        )
            .write(w);
    }
}

impl ReadPart for Member {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let corrupt = |reason: String| hearth_store::Error::Corrupt(reason);
        let (number, position, since, event_id, sender) =
            <(u8, Position, Position, String, String) as ReadPart>::read(r)?;
        Ok(Self {
            membership: *Membership::ALL
                .get(usize::from(number))
                .ok_or_else(|| corrupt("a stored membership is not known".to_owned()))?,
            position,
            since,
            event_id: OwnedEventId::try_from(event_id).map_err(|e| corrupt(e.to_string()))?,
            sender: OwnedUserId::try_from(sender).map_err(|e| corrupt(e.to_string()))?,
        })
    }
}
