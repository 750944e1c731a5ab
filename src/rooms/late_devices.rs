//! Owns changes of devices of users of whom it is not known whether they are members of a partial room: they are told once
//! its members are. Must never be told of who turns out to be no member.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#device-management>

use hearth_store::{Batch, CommitError, Direction, Family, Table, View};
use ruma::UserId;

use crate::{
    Error, Rooms,
    membership::{parse_room, parse_user},
    partial::PARTIAL,
    purge::LAST,
    signal_device_change,
};

/// (room, user): users of other servers whose devices changed meanwhile.
pub(crate) const LATE_DEVICES: Table<(String, String), ()> =
    Table::new(149, "late_devices", Family::Index);

/// How many are looked at together.
const TOGETHER: usize = 256;

impl Rooms {
    /// Remembers, as part of `batch`, that the devices of a user of another server changed who may be a member of rooms
    /// whose members are not known.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn plan_late_devices(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
    ) -> Result<(), Error> {
        for room_id in self.partial_rooms(view).await? {
            let is_known = self.membership(view, user, &room_id).await?.is_some();
            if is_known || !self.is_named(view, user.server_name(), &room_id).await? {
                continue;
            }
            // Not once the room is whole: who was to tell of it has looked then.
            let partial = view.get(&PARTIAL, room_id.as_str()).await?;
            batch.assert_unchanged(&PARTIAL, room_id.as_str(), partial);
            batch.put(&LATE_DEVICES, (room_id.as_str(), user.as_str()), ());
        }
        Ok(())
    }

    /// Tells of some of what was remembered of rooms that are whole by now. Whether there may be more.
    pub(crate) async fn tell_late_devices(&self) -> Result<bool, Error> {
        let mut from = (String::new(), String::new());
        loop {
            let view = self.0.store.view().await?;
            let range = from..(LAST.to_owned(), String::new());
            let found: Vec<((String, String), ())> = view
                .scan(&LATE_DEVICES, range, Direction::Forward, TOGETHER)
                .await?;
            let Some(((first, _), ())) = found.first() else {
                return Ok(false);
            };
            let room_id = parse_room(first.clone())?;
            if view.get(&PARTIAL, room_id.as_str()).await?.is_some() {
                from = (format!("{room_id}\u{1}"), String::new());
                continue;
            }
            let of_room = found
                .iter()
                .filter(|((room, _), ())| room == room_id.as_str());
            let mut batch = Batch::new();
            for ((_, user), ()) in of_room {
                batch.delete(&LATE_DEVICES, (room_id.as_str(), user.as_str()));
                let user = parse_user(user.clone())?;
                if self.is_joined(&view, &user, &room_id).await? {
                    let rooms = std::slice::from_ref(&room_id);
                    signal_device_change(&view, &mut batch, rooms, &user).await?;
                }
            }
            return match self.0.store.commit(batch).await {
                Ok(_) | Err(CommitError::Conflict) => Ok(true),
                Err(CommitError::Failed(error)) => Err(error.into()),
            };
        }
    }
}
