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
    /// The users whose keys look different to `user` since `after` (exclusive): `user` themselves when a device or key of
    /// theirs changed, and others whom `user` signed. What changed again later is told as well, whenever it first did.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn own_device_changes(
        &self,
        view: &View,
        user: &UserId,
        after: Position,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let mut changed = BTreeSet::new();
        let newest = view.get(&OWN_CHANGES, (user.as_str(), "")).await?;
        if newest.is_none_or(|newest| newest <= after) {
            return Ok(changed);
        }
        let mut from = "\u{1}".to_owned();
        loop {
            let range = (user.as_str(), from.as_str())..(user.as_str(), "\u{10FFFF}");
            let page: Vec<((String, String), Position)> = view
                .scan(&OWN_CHANGES, range, Direction::Forward, SCAN_LIMIT)
                .await?;
            let more = page.len() == SCAN_LIMIT;
            for ((_, name), position) in page {
                // The lowest letter that a user id may hold is above this one.
                from = format!("{name}\u{1}");
                if position > after {
                    changed.extend(OwnedUserId::try_from(name));
                }
            }
            if !more {
                return Ok(changed);
            }
        }
    }
}
