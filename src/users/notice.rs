//! Owns which room a user gets the notices of their server in. Must never make the room: the edge does.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-notices>

use hearth_store::{Batch, Family, Table, View};
use ruma::{OwnedRoomId, RoomId, UserId};

use crate::{Error, Users};

/// User to the room in which they get notices.
const NOTICE_ROOMS: Table<String, String> = Table::new(63, "notice_rooms", Family::Records);

impl Users {
    /// The room in which `user` gets notices, if there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn notice_room(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Option<OwnedRoomId>, Error> {
        let found = view.get(&NOTICE_ROOMS, user.as_str()).await?;
        found
            .map(|room| {
                OwnedRoomId::try_from(room).map_err(|error| {
                    hearth_store::Error::Corrupt(format!("no room for notices: {error}")).into()
                })
            })
            .transpose()
    }

    /// Says in which room `user` gets notices; `false` if that was said already.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_notice_room(&self, user: &UserId, room: &RoomId) -> Result<bool, Error> {
        let mut batch = Batch::new();
        batch.assert_absent(&NOTICE_ROOMS, user.as_str());
        batch.put(&NOTICE_ROOMS, user.as_str(), room.as_str().to_owned());
        Ok(self.try_commit(batch).await?.is_some())
    }
}
