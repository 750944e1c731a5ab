//! Owns the answer to whose keys changed for a user outside of rooms: their own, and of users whom they signed. Must
//! never ask a room: whoever asks adds what the rooms recorded.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#tracking-the-device-list-for-a-user>

use std::collections::BTreeSet;

use hearth_store::{Direction, Position, SCAN_LIMIT, View};
use ruma::{OwnedUserId, UserId};

use super::OWN_CHANGES;
use crate::{Error, Users};

impl Users {
    /// The users whose keys look different to `user` since `after` (exclusive) up to `upto` (inclusive): `user` themselves when
    /// a device or key of theirs changed, and others whom `user` signed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn own_device_changes(
        &self,
        view: &View,
        user: &UserId,
        after: Position,
        upto: Position,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let range = (user.as_str(), after.next())..(user.as_str(), upto.next());
        // The newest ones, should there ever be more: all of them say much the same.
        let found = view
            .scan(&OWN_CHANGES, range, Direction::Backward, SCAN_LIMIT)
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(_, changed)| OwnedUserId::try_from(changed).ok())
            .collect())
    }
}
