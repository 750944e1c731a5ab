//! Owns whether this server hears of changes of the devices of a user of another server, and whether there were any. Must
//! never say that there were none where this server may not have heard of one.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#device-management>

use std::hash::{DefaultHasher, Hash, Hasher};

use hearth_store::{Direction, View};
use ruma::UserId;

use crate::{
    Error, Rooms,
    member::{LOCAL_JOINED, MEMBERS},
    signal::DEVICE_SIGNALLED,
};

/// How many rooms are looked at: a change is told in all of them.
const MAX_ROOMS: usize = 32;

/// Names a time in which the devices of a user did not change and this server would have heard of it: two of the same user
/// that are equal belong to one such time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked(u64);

impl Rooms {
    /// Since when the devices of a user of another server are as they are; nothing if this server does not hear of their
    /// changes, since it is in no room with the user as far as it knows.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tracked(&self, view: &View, user: &UserId) -> Result<Option<Tracked>, Error> {
        let mut hasher = DefaultHasher::new();
        let mut is_tracked = false;
        let rooms = self.rooms_shared_with(view, user).await?;
        for room_id in rooms.iter().take(MAX_ROOMS) {
            let prefix = (room_id.as_str(),);
            let first: Vec<((String, String), ())> = view
                .scan_prefix(&LOCAL_JOINED, prefix, Direction::Forward, 1)
                .await?;
            // As long as this one was there, this server was.
            let Some(((_, own), ())) = first.into_iter().next() else {
                continue;
            };
            let keys = [
                (room_id.as_str(), user.as_str()),
                (room_id.as_str(), own.as_str()),
            ];
            for member in view.get_many(&MEMBERS, keys).await? {
                member.map(|member| member.since).hash(&mut hasher);
            }
            view.get(&DEVICE_SIGNALLED, keys[0])
                .await?
                .hash(&mut hasher);
            (room_id, own).hash(&mut hasher);
            is_tracked = true;
        }
        Ok(is_tracked.then(|| Tracked(hasher.finish())))
    }
}
