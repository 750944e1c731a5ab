//! Owns rooms that the user left or was banned from. Must never show anything of them after that moment, nor their state to
//! one who was never in.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use std::sync::Arc;

use hearth_rooms::{Member, Membership, StoredEvent, membership_of};
use ruma::RoomId;
use serde_json::value::RawValue;

use crate::{
    Error, LeftRoom, ShownEvent, State, Summary, Timeline, Token,
    device_lists::Shared as SharedRooms,
    state, timeline,
    window::{Reading, RoomWindow},
};

/// A room that the user left since the last answer; in a first sync those of before, if the client wants them.
pub(crate) async fn read(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
    devices: &mut SharedRooms,
    account_data: Vec<Box<RawValue>>,
) -> Result<Option<LeftRoom>, Error> {
    let is_new = match reading.since() {
        Some(since) => member.position > since,
        None => reading.request.filter.room.include_leave,
    };
    if !is_new {
        return Ok(None);
    }
    let (rooms, view) = (reading.rooms(), reading.view);
    let Some(leave) = rooms.event(view, &member.event_id).await? else {
        return Ok(None);
    };
    let head = rooms.head(view, id).await?;
    let Some(head) = head.filter(|_| !leave.is_outlier()) else {
        return Ok(Some(declined(reading, member, leave, account_data)));
    };
    let end = (leave.position, leave.state_after);
    let room = RoomWindow::open(reading, id, member, &head, end).await?;
    let before = reading
        .rooms()
        .membership_at(reading.view, &head, leave.state_before, reading.user())
        .await?;
    if room.since.is_none() && before != Membership::Join {
        // An invite that came to nothing, or a ban of one who was outside: the event, and nothing else of the room.
        return Ok(Some(farewell(reading, leave, account_data)));
    }
    devices.add_left(reading, &room).await?;
    let cut = timeline::read(reading, &room).await?;
    let state = state::read(reading, &room, &cut, &Summary::default()).await?;
    Ok(Some(LeftRoom {
        timeline: timeline::show(reading, &room, cut).await?,
        state,
        account_data: account_data.into(),
    }))
}

/// A room that the user left since the last answer, and forgot: their other devices have to hear that they are out, once,
/// and hear nothing else of it.
pub(crate) async fn read_forgotten(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
    devices: &mut SharedRooms,
) -> Result<Option<LeftRoom>, Error> {
    let (rooms, view) = (reading.rooms(), reading.view);
    let (Some(head), Some(leave)) = (
        rooms.head(view, id).await?,
        rooms.event(view, &member.event_id).await?,
    ) else {
        return Ok(None);
    };
    if leave.is_outlier() {
        return Ok(None);
    }
    let end = (leave.position, leave.state_after);
    let room = RoomWindow::open(reading, id, member, &head, end).await?;
    if room.since.is_none() {
        return Ok(None);
    }
    devices.add_left(reading, &room).await?;
    Ok(Some(farewell(reading, leave, Vec::new())))
}

/// The event with which the user went, and nothing else.
fn farewell(
    reading: &Reading<'_>,
    leave: Arc<StoredEvent>,
    account_data: Vec<Box<RawValue>>,
) -> LeftRoom {
    let prev_batch = Token::at(leave.position);
    LeftRoom {
        timeline: Timeline {
            events: vec![ShownEvent::new(leave, &reading.look)],
            limited: false,
            prev_batch,
        },
        state: State {
            form: reading.request.state_form,
            events: Vec::new(),
        },
        account_data: account_data.into(),
    }
}

/// An invite of other servers that the user declined: there is nothing of the room here.
fn declined(
    reading: &Reading<'_>,
    member: &Member,
    leave: Arc<StoredEvent>,
    account_data: Vec<Box<RawValue>>,
) -> LeftRoom {
    // Where no server took the leave, the invite is all that there is, and no news.
    let is_leave = membership_of(leave.pdu.content().get()) != Membership::Invite;
    let events = is_leave.then(|| ShownEvent::new(leave, &reading.look));
    LeftRoom {
        timeline: Timeline {
            events: events.into_iter().collect(),
            limited: false,
            prev_batch: Token::at(member.position),
        },
        state: State {
            form: reading.request.state_form,
            events: Vec::new(),
        },
        account_data: account_data.into(),
    }
}
