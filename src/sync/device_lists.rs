//! Owns whose keys a client asks for again, and whose it forgets: changes of keys, and users who come into the rooms of the
//! user or leave the last one. Must never miss one who comes into an encrypted room: messages would go past their devices.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#tracking-the-device-list-for-a-user>

use std::{collections::BTreeSet, sync::Arc};

use hearth_rooms::{Membership, StoredEvent};
use hearth_store::Position;
use ruma::{OwnedUserId, RoomId, UserId};

use crate::{
    DeviceLists, Error,
    state::MEMBER,
    window::{Reading, RoomWindow},
};

/// A room without encryption is told of up to this size: in larger ones nobody's keys are needed until it is switched on.
const MAX_PLAIN: u64 = 1000;

/// Of how many users is looked up whether a room is left that they share. Keys of the others stay with the client, which
/// costs it some memory.
const MAX_LEAVERS: usize = 1000;

/// How many member events of one user are looked at for whether they were away: more count as that.
const MAX_STEPS: usize = 10;

/// What the rooms of a user tell of others.
pub(crate) struct Shared {
    is_first: bool,
    changed: BTreeSet<OwnedUserId>,
    leavers: BTreeSet<OwnedUserId>,
}

impl Shared {
    /// Starts with what changed outside of rooms. In a first sync there is nothing: the client has no keys yet.
    pub(crate) async fn new(reading: &Reading<'_>) -> Result<Self, Error> {
        let changed = match reading.since() {
            None => BTreeSet::new(),
            Some(since) => {
                let (view, user) = (reading.view, reading.user());
                reading
                    .users()
                    .own_device_changes(view, user, since)
                    .await?
            }
        };
        Ok(Self {
            is_first: reading.since().is_none(),
            changed,
            leavers: BTreeSet::new(),
        })
    }

    /// Takes in a joined room.
    pub(crate) async fn add_joined(
        &mut self,
        reading: &Reading<'_>,
        room: &RoomWindow<'_>,
    ) -> Result<(), Error> {
        if self.is_first {
            return Ok(());
        }
        self.changed.extend(room.signals.devices.iter().cloned());
        let is_new = room.since.is_none();
        let turned_on = |(event_type, ..): &(String, String, _)| event_type == "m.room.encryption";
        if is_new || room.changes.iter().any(turned_on) {
            if room.head.joined <= MAX_PLAIN || is_encrypted(reading, room).await? {
                let joined = reading
                    .rooms()
                    .joined_members(reading.view, room.id)
                    .await?;
                self.changed
                    .extend(joined.into_iter().map(|(user, _)| user));
            }
            if is_new {
                return Ok(());
            }
        }
        self.add_changes(reading, room).await
    }

    /// Takes in a room that the user left.
    pub(crate) async fn add_left(
        &mut self,
        reading: &Reading<'_>,
        room: &RoomWindow<'_>,
    ) -> Result<(), Error> {
        if self.is_first || room.since.is_none() {
            return Ok(());
        }
        let left_behind = reading.rooms().members(reading.view, room.id, None).await?;
        let is_joined = |membership| membership == Membership::Join;
        let left_behind = left_behind.into_iter();
        self.leavers.extend(
            left_behind
                .filter(|(_, member)| is_joined(member.membership))
                .map(|(user, _)| user)
                .take(MAX_LEAVERS),
        );
        self.add_changes(reading, room).await
    }

    /// Those who came and went.
    async fn add_changes(
        &mut self,
        reading: &Reading<'_>,
        room: &RoomWindow<'_>,
    ) -> Result<(), Error> {
        let Some((since, old)) = room.since else {
            return Ok(());
        };
        // Members of a room that was joined without them become known all at once. Where nothing is encrypted their keys matter
        // to nobody yet, and changes are told.
        let spares_found =
            became_whole(reading, room, since).await? && !is_encrypted(reading, room).await?;
        for (event_type, user, id) in &room.changes {
            let (MEMBER, Ok(user)) = (event_type.as_str(), UserId::parse(user)) else {
                continue;
            };
            let before = reading
                .rooms()
                .membership_at(reading.view, room.head, old, &user)
                .await?;
            let event = match id {
                Some(id) => reading.rooms().event(reading.view, id).await?,
                None => None,
            };
            let now = event.as_ref().map_or(Membership::Leave, |event| {
                hearth_rooms::membership_of(event.pdu.content().get())
            });
            let came = match (before, now, event) {
                (Membership::Join, Membership::Join, Some(event)) => {
                    was_away(reading, room, &user, event).await?
                }
                (_, Membership::Join, Some(event)) => !(spares_found && event.is_outlier()),
                _ => false,
            };
            if came {
                self.changed.insert(user);
            } else if before == Membership::Join && now != Membership::Join {
                self.leavers.insert(user);
            }
        }
        Ok(())
    }

    /// The answer, given the rooms in which the user is joined.
    pub(crate) async fn finish<'r>(
        self,
        reading: &Reading<'_>,
        joined: impl Iterator<Item = &'r RoomId> + Clone,
    ) -> Result<DeviceLists, Error> {
        let mut lists = DeviceLists {
            changed: self.changed,
            left: BTreeSet::new(),
        };
        for user in self.leavers.into_iter().take(MAX_LEAVERS) {
            if user != reading.user() && !shares_any(reading, &user, joined.clone()).await? {
                lists.changed.remove(&user);
                lists.left.insert(user);
            }
        }
        Ok(lists)
    }
}

/// Whether one who was joined at the last answer, and is by `event`, was not in between: the room was not told then how
/// their keys changed.
async fn was_away(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    user: &UserId,
    mut event: Arc<StoredEvent>,
) -> Result<bool, Error> {
    let Some((since, _)) = room.since else {
        return Ok(false);
    };
    for _ in 0..MAX_STEPS {
        if event.position <= since {
            return Ok(false);
        }
        let earlier = reading
            .rooms()
            .state_event(
                reading.view,
                room.head,
                event.state_before,
                MEMBER,
                user.as_str(),
            )
            .await?;
        match earlier {
            Some(earlier)
                if hearth_rooms::membership_of(earlier.pdu.content().get()) == Membership::Join =>
            {
                event = earlier;
            }
            _ => return Ok(true),
        }
    }
    Ok(true)
}

/// Whether the members of the room became known since the last answer.
async fn became_whole(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    since: Position,
) -> Result<bool, Error> {
    let (rooms, view) = (reading.rooms(), reading.view);
    if !rooms.may_have_gaps(view, room.id, room.head).await? {
        return Ok(false);
    }
    let completed = rooms.completed_at(view, room.id).await?;
    Ok(completed.is_some_and(|at| since < at))
}

async fn shares_any<'r>(
    reading: &Reading<'_>,
    user: &UserId,
    rooms: impl Iterator<Item = &'r RoomId>,
) -> Result<bool, Error> {
    for room in rooms {
        if reading.rooms().is_joined(reading.view, user, room).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_encrypted(reading: &Reading<'_>, room: &RoomWindow<'_>) -> Result<bool, Error> {
    let event = reading
        .rooms()
        .state_event(reading.view, room.head, room.end, "m.room.encryption", "")
        .await?;
    Ok(event.is_some())
}
