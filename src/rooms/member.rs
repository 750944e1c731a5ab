//! Owns the index of memberships: who is what in which room, by room and by user. It repeats the current state for
//! quick answers. Must never be written but together with the event that it repeats.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-membership>

use hearth_protocol::Pdu;
use hearth_store::{Family, Part, Position, ReadPart, Reader, Table, Topic, Writer};
use ruma::{OwnedEventId, OwnedUserId};

use crate::{
    known_rooms::note_moved,
    plan::Plan,
    servers::{REMOTE_JOINED, ROOM_SERVERS},
    signal::DEVICES_UNSEEN,
};

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

/// A membership that becomes another.
pub(crate) struct Moved {
    /// Whose.
    pub(crate) user: OwnedUserId,
    /// What is known of it.
    pub(crate) before: Option<Member>,
    /// What it was in the state of the room, and counted as. What a user heard while this server was not in the room is not.
    pub(crate) counted: Option<Membership>,
    /// What it becomes.
    pub(crate) now: Membership,
}

impl Plan {
    /// Makes the index of memberships say what the member event `event` says, as of `position`.
    pub(crate) fn apply_member(&mut self, event: &Pdu, position: Position, moved: Moved) {
        let Moved {
            user,
            before,
            counted,
            now,
        } = moved;
        let same = before.as_ref().filter(|before| before.membership == now);
        let member = Member {
            membership: now,
            position,
            since: same.map_or(position, |before| before.since),
            event_id: event.event_id().to_owned(),
            sender: event.sender().to_owned(),
        };
        let before = before.map(|member| member.membership);
        let head = &mut self.head;
        for (count, kind) in [
            (&mut head.joined, Membership::Join),
            (&mut head.invited, Membership::Invite),
        ] {
            if counted == Some(kind) {
                *count = count.saturating_sub(1);
            }
            if now == kind {
                *count += 1;
            }
        }
        let room_id = event.room_id().as_str();
        let batch = &mut self.batch;
        let was_joined = before == Some(Membership::Join);
        let is_joined = now == Membership::Join;
        if was_joined != is_joined {
            let server = (room_id, user.server_name().as_str());
            batch.add(&ROOM_SERVERS, server, if is_joined { 1 } else { -1 });
            let row = (user.as_str(), room_id);
            match is_joined {
                _ if self.rooms.is_local(&user) => {}
                true => batch.put(&REMOTE_JOINED, row, ()),
                false => batch.delete(&REMOTE_JOINED, row),
            }
        }
        batch.put(&MEMBERS, (room_id, user.as_str()), &member);
        if self.rooms.is_local(&user) {
            batch.put(&USER_ROOMS, (user.as_str(), room_id), &member);
            note_moved(batch, &user, position);
            match now {
                Membership::Join => {
                    batch.put(&LOCAL_JOINED, (room_id, user.as_str()), ());
                    if !was_joined && self.is_shared_now && self.partial.is_none() {
                        // The servers in the room may not know the user's devices.
                        batch.put(&DEVICES_UNSEEN, user.as_str(), position);
                    }
                }
                _ => batch.delete(&LOCAL_JOINED, (room_id, user.as_str())),
            }
            batch.wake(Topic::new('u', user.as_str()));
        }
        self.members.insert(user, member);
    }
}
