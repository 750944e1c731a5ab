//! Owns rooms that the user may join or asks to. Must never show more of them than the stripped state.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#stripped-state>

use hearth_rooms::Member;
use ruma::RoomId;
use serde_json::value::RawValue;

use crate::{Error, InvitedRoom, KnockedRoom, window::Reading};

/// An invite, if it is new, and neither is its sender ignored nor are all invites unwanted.
pub(crate) async fn read_invite(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
) -> Result<Option<InvitedRoom>, Error> {
    if reading.ignored.contains(&member.sender) {
        return Ok(None);
    }
    let users = &reading.shared.users;
    if users.blocks_invites(reading.view, reading.user()).await? {
        return Ok(None);
    }
    let state = stripped(reading, id, member).await?;
    Ok(state.map(|state| InvitedRoom {
        invite_state: state.into(),
    }))
}

/// A knock, if it is new.
pub(crate) async fn read_knock(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
) -> Result<Option<KnockedRoom>, Error> {
    let state = stripped(reading, id, member).await?;
    Ok(state.map(|state| KnockedRoom {
        knock_state: state.into(),
    }))
}

/// What the user is shown of a room, as it was when they became what they are to it.
async fn stripped(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
) -> Result<Option<Vec<Box<RawValue>>>, Error> {
    if member.position <= reading.after() && !reading.request.full_state {
        return Ok(None);
    }
    let (rooms, view) = (reading.rooms(), reading.view);
    let Some(event) = rooms.event(view, &member.event_id).await? else {
        return Ok(None);
    };
    let head = rooms.head(view, id).await?;
    let Some(head) = head.filter(|_| !event.is_outlier()) else {
        // A room of other servers: what they told.
        return Ok(rooms.shown_outside(view, id, reading.user()).await?);
    };
    let state = rooms
        .stripped_state(view, &head, event.state_after, reading.user())
        .await?;
    Ok(Some(state))
}
