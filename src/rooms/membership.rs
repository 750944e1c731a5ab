//! Owns reading who is in which room. Must never write: the index follows the events.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-membership>

use hearth_store::{Direction, Position, SCAN_LIMIT, View};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{
    Error, Head, Member, Membership, Rooms,
    known_rooms::ROOMS_MOVED,
    member::{FORGOTTEN, LOCAL_JOINED, MEMBERS, USER_ROOMS},
};

/// How many users name a room that has no name.
const HEROES: usize = 5;

/// How many members are looked at for heroes.
const HERO_CANDIDATES: usize = 100;

impl Rooms {
    /// What the user is to the room; nothing if they never were anything.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn membership(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Option<Member>, Error> {
        Ok(view
            .get(&MEMBERS, (room_id.as_str(), user.as_str()))
            .await?)
    }

    /// Whether the user is joined.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_joined(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<bool, Error> {
        let member = self.membership(view, user, room_id).await?;
        Ok(member.is_some_and(|m| m.membership == Membership::Join))
    }

    /// The rooms to which the user is something, without those that they forgot.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rooms_of(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Vec<(OwnedRoomId, Member)>, Error> {
        let found: Vec<((String, String), Member)> = view
            .scan_prefix(
                &USER_ROOMS,
                (user.as_str(),),
                Direction::Forward,
                SCAN_LIMIT,
            )
            .await?;
        found
            .into_iter()
            .map(|((_, room_id), member)| Ok((parse_room(room_id)?, member)))
            .collect()
    }

    /// What the user is to the room, unless they forgot it: as [`Rooms::rooms_of`], for one room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remembered(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Option<Member>, Error> {
        Ok(view
            .get(&USER_ROOMS, (user.as_str(), room_id.as_str()))
            .await?)
    }

    /// The rooms that the user left after `after` and up to `upto`, forgot and did not come back to, with how they left.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forgotten(
        &self,
        view: &View,
        user: &UserId,
        after: Position,
        upto: Position,
    ) -> Result<Vec<(OwnedRoomId, Member)>, Error> {
        let moved: Option<Position> = view.get(&ROOMS_MOVED, user.as_str()).await?;
        if moved.is_none_or(|moved| moved <= after) {
            return Ok(Vec::new());
        }
        let range = (user.as_str(), after.next(), "")..(user.as_str(), upto.next(), "");
        let found: Vec<((String, Position, String), ())> = view
            .scan(&FORGOTTEN, range, Direction::Forward, SCAN_LIMIT)
            .await?;
        let mut rooms = Vec::new();
        for ((_, position, room_id), ()) in found {
            let room_id = parse_room(room_id)?;
            let last = self.membership(view, user, &room_id).await?;
            if let Some(member) = last.filter(|member| member.position == position) {
                rooms.push((room_id, member));
            }
        }
        Ok(rooms)
    }

    /// The rooms in which the user is joined.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn joined_rooms(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let rooms = self.rooms_of(view, user).await?;
        Ok(rooms
            .into_iter()
            .filter(|(_, member)| member.membership == Membership::Join)
            .map(|(room_id, _)| room_id)
            .collect())
    }

    /// The joined users of this server in the room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn local_members(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let mut users = Vec::new();
        let mut from = String::new();
        loop {
            let range = (room_id.as_str(), from.as_str())..(room_id.as_str(), "\u{10FFFF}");
            let found: Vec<((String, String), ())> = view
                .scan(&LOCAL_JOINED, range, Direction::Forward, SCAN_LIMIT)
                .await?;
            let more = found.len() == SCAN_LIMIT;
            for ((_, user), ()) in found {
                from = format!("{user}\u{1}");
                users.push(parse_user(user)?);
            }
            if !more {
                return Ok(users);
            }
        }
    }

    /// The users with a membership in the room, in pages: those after `after`, ten thousand at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn members(
        &self,
        view: &View,
        room_id: &RoomId,
        after: Option<&UserId>,
    ) -> Result<Vec<(OwnedUserId, Member)>, Error> {
        // The lowest letter that a user id may hold is above this one.
        let from = after.map_or(String::new(), |user| format!("{user}\u{1}"));
        let range = (room_id.as_str(), from.as_str())..(room_id.as_str(), "\u{10FFFF}");
        let found: Vec<((String, String), Member)> = view
            .scan(&MEMBERS, range, Direction::Forward, SCAN_LIMIT)
            .await?;
        found
            .into_iter()
            .map(|((_, user), member)| Ok((parse_user(user)?, member)))
            .collect()
    }

    /// The joined users with their member events.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn joined_members(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Vec<(OwnedUserId, OwnedEventId)>, Error> {
        let mut joined = Vec::new();
        let mut after: Option<OwnedUserId> = None;
        loop {
            let page = self.members(view, room_id, after.as_deref()).await?;
            let more = page.len() == SCAN_LIMIT;
            after = page.last().map(|(user, _)| user.clone());
            let here = page
                .into_iter()
                .filter(|(_, member)| member.membership == Membership::Join)
                .map(|(user, member)| (user, member.event_id));
            joined.extend(here);
            if !more {
                return Ok(joined);
            }
        }
    }

    /// At most five other users after whom `user` may call a room without a name: joined or invited ones, else those who
    /// left.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn heroes(
        &self,
        view: &View,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let mut found: Vec<((String, String), Member)> = view
            .scan_prefix(
                &MEMBERS,
                (room_id.as_str(),),
                Direction::Forward,
                HERO_CANDIDATES,
            )
            .await?;
        found.retain(|((_, other), _)| other != user.as_str());
        found.sort_by_key(|(_, member)| member.position);
        let is_here = |m: &Member| matches!(m.membership, Membership::Join | Membership::Invite);
        let is_gone = |m: &Member| matches!(m.membership, Membership::Leave | Membership::Ban);
        let anyone_here = found.iter().any(|(_, m)| is_here(m));
        found
            .into_iter()
            .filter(|(_, m)| if anyone_here { is_here(m) } else { is_gone(m) })
            .take(HEROES)
            .map(|((_, user), _)| parse_user(user))
            .collect()
    }

    /// Whether `reader` may look into the room at all. Returns the event with which they left, if that is what they did:
    /// they may see no state after it.
    ///
    /// # Errors
    /// `Forbidden` when the reader never took part, or forgot, and the room is not open to all.
    pub(crate) async fn check_peek(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
    ) -> Result<Option<OwnedEventId>, Error> {
        let refuse = || Error::forbidden("you are not in this room");
        let member = self.remembered(view, reader, room_id).await?;
        if let Some(member) = &member
            && member.membership == Membership::Join
        {
            return Ok(None);
        }
        let head = self.head(view, room_id).await?.ok_or_else(refuse)?;
        if self.is_open_to_all(view, &head).await? {
            return Ok(None);
        }
        let Some(member) =
            member.filter(|m| matches!(m.membership, Membership::Leave | Membership::Ban))
        else {
            return Err(refuse());
        };
        // Who left was there only if they had joined before.
        let event = self.known_event(view, &member.event_id).await?;
        let before = self
            .membership_at(view, &head, event.state_before, reader)
            .await?;
        match before {
            Membership::Join => Ok(Some(member.event_id)),
            _ if self.was_joined(view, &head, &event).await? => Ok(Some(member.event_id)),
            _ => Err(refuse()),
        }
    }

    /// Whether everybody may read the room now.
    pub(crate) async fn is_open_to_all(&self, view: &View, head: &Head) -> Result<bool, Error> {
        let visibility = self.visibility_at(view, head, head.state).await?;
        Ok(visibility == ruma::events::room::history_visibility::HistoryVisibility::WorldReadable)
    }
}

/// A user id out of an index.
pub(crate) fn parse_user(user: String) -> Result<OwnedUserId, Error> {
    OwnedUserId::try_from(user).map_err(|e| Error::corrupt(format!("an index names no user: {e}")))
}

/// A room id out of an index.
pub(crate) fn parse_room(room_id: String) -> Result<OwnedRoomId, Error> {
    OwnedRoomId::try_from(room_id)
        .map_err(|e| Error::corrupt(format!("an index names no room: {e}")))
}
