//! Owns what is told of a joined room. Must never tell of a room in which nothing is new.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use serde_json::value::RawValue;

use crate::{
    Error, JoinedRoom, account_data, counts, receipts, state, summary, timeline,
    window::{Reading, RoomWindow},
};

/// What is new in a joined room, given its account data and who types there; nothing if nothing is.
pub(crate) async fn read(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    mut account_data: Vec<Box<RawValue>>,
    typing: Option<Box<RawValue>>,
) -> Result<Option<JoinedRoom>, Error> {
    let is_whole = room.is_whole(reading);
    let moved = room
        .since
        .is_none_or(|(since, _)| room.head.position > since);
    let receipts = receipts::read(reading, room).await?;
    let is_quiet = !moved && receipts.is_empty() && account_data.is_empty() && typing.is_none();
    if is_quiet && !is_whole {
        return Ok(None);
    }
    if room.since.is_none() && reading.since().is_some() {
        account_data = account_data::of_room(reading, room.id).await?;
    }
    let cut = timeline::read(reading, room).await?;
    let summary = summary::read(reading, room).await?;
    let state = state::read(reading, room, &cut, &summary).await?;
    let timeline = timeline::show(reading, room, cut).await?;
    let told = !timeline.events.is_empty()
        || timeline.limited
        || !state.events.is_empty()
        || !receipts.is_empty()
        || !account_data.is_empty()
        || typing.is_some();
    if !told && !is_whole {
        return Ok(None);
    }
    let (unread_notifications, unread_thread_notifications) = counts::read(reading, room).await?;
    let mut ephemeral = receipts.events;
    ephemeral.extend(typing);
    Ok(Some(JoinedRoom {
        summary,
        timeline,
        state,
        account_data: account_data.into(),
        ephemeral: ephemeral.into(),
        unread_notifications,
        unread_thread_notifications,
    }))
}
