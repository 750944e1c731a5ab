//! Owns how much of a room a user has not read. Must never count by itself: `rooms` keeps the totals.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receiving-notifications>

use std::collections::BTreeMap;

use ruma::OwnedEventId;

use crate::{
    Error, Unread,
    window::{Reading, RoomWindow},
};

/// What is unread in a room; with threads told apart, if the client wants that, outside of them and in each.
pub(crate) async fn read(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
) -> Result<(Unread, BTreeMap<OwnedEventId, Unread>), Error> {
    let joined_at = room.member.since;
    let unread = reading
        .rooms()
        .unread(reading.view, reading.user(), room.id, room.head, joined_at)
        .await?;
    if !reading
        .request
        .filter
        .room
        .timeline
        .unread_thread_notifications
    {
        return Ok((unread.all.into(), BTreeMap::new()));
    }
    let threads = unread.threads.into_iter();
    let threads = threads
        .map(|(root, counts)| (root, counts.into()))
        .collect();
    Ok((unread.main.into(), threads))
}
