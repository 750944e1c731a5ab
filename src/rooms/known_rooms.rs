//! Owns a memory of the rooms of users: a request that finds nothing new reads one record instead of a list. Must never be
//! believed without that record: it says whether the list that is remembered is that of the view.

use std::sync::Arc;

use hearth_store::{Batch, Family, Position, Table, View};
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedRoomId, OwnedUserId, UserId};

use crate::{Error, Member, Rooms};

/// User to where in the log what they are to rooms last changed.
pub(crate) const ROOMS_MOVED: Table<String, Position> =
    Table::new(115, "rooms_moved", Family::Records);

/// How many memberships are remembered, of all users together.
const REMEMBERED: u64 = 40_000;

/// For how many users the memory is made.
const USERS: usize = 10_000;

/// The rooms of a user, each with what the user is to it.
pub type UserRooms = Arc<Vec<(OwnedRoomId, Member)>>;

/// The lists that were read lately, each with the record that it goes with.
pub(crate) struct KnownRooms(Cache<OwnedUserId, (Option<Position>, UserRooms), ByRooms>);

#[derive(Clone)]
struct ByRooms;

impl Weighter<OwnedUserId, (Option<Position>, UserRooms)> for ByRooms {
    fn weight(&self, _: &OwnedUserId, (_, rooms): &(Option<Position>, UserRooms)) -> u64 {
        u64::try_from(rooms.len()).map_or(u64::MAX, |rooms| rooms.saturating_add(1))
    }
}

impl Default for KnownRooms {
    fn default() -> Self {
        Self(Cache::with_weighter(USERS, REMEMBERED, ByRooms))
    }
}

/// Notes as part of `batch` that at `position` what `user` is to a room changes.
pub(crate) fn note_moved(batch: &mut Batch, user: &UserId, position: Position) {
    batch.put(&ROOMS_MOVED, user.as_str(), position);
}

impl Rooms {
    /// As [`Rooms::rooms_of`], shared with others who ask.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn known_rooms_of(&self, view: &View, user: &UserId) -> Result<UserRooms, Error> {
        let moved: Option<Position> = view.get(&ROOMS_MOVED, user.as_str()).await?;
        let known = &self.0.known_rooms.0;
        if let Some((at, rooms)) = known.get(user)
            && at == moved
        {
            return Ok(rooms);
        }
        let rooms = Arc::new(self.rooms_of(view, user).await?);
        known.insert(user.to_owned(), (moved, rooms.clone()));
        Ok(rooms)
    }
}
