//! `GET /_matrix/client/v3/rooms/{roomId}/members`

use hearth_rooms::{Membership, Root};
use hearth_store::{Direction, Position, View};
use hearth_users::Session;
use ruma::{
    RoomId,
    api::client::membership::get_member_events::v3::{Request, Response},
    events::room::member::MembershipState,
};
use serde::Deserialize;

use super::with_members;
use crate::{App, error::Error, show, tokens};

#[derive(Deserialize)]
struct Content {
    membership: MembershipState,
}

/// The members now, when the user left, or at the token that the client names.
pub(super) async fn get_member_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let room = &request.room_id;
    let view = with_members(&app, &session, room).await?;
    let (head, mut root) = app
        .rooms
        .readable_state(&view, &session.user_id, room)
        .await?;
    if let Some(at) = &request.at {
        root = root_at(&app, &view, &session, room, tokens::position(at)?).await?;
    }
    let events = app
        .rooms
        .full_state(&view, &head, root, Some("m.room.member"))
        .await?;
    let chunk = events
        .iter()
        .filter(|event| {
            let content = serde_json::from_str::<Content>(event.pdu.content().get());
            content.is_ok_and(|content| wanted(&request, &content.membership))
        })
        .map(|event| show::plain(&app, &session, event))
        .collect();
    Ok(Response::new(chunk))
}

/// The state after the newest event at or below `at`; for a user who is not in the room, not after they left it.
async fn root_at(
    app: &App,
    view: &View,
    session: &Session,
    room: &RoomId,
    at: Position,
) -> Result<Root, Error> {
    let member = app
        .rooms
        .membership(view, &session.user_id, room)
        .await?
        .filter(|member| member.membership != Membership::Join);
    let latest = member.map_or(view.position(), |member| member.position);
    let upto = latest.min(at);
    let newest = app
        .rooms
        .timeline(view, room, Position::ZERO, upto, Direction::Backward, 1)
        .await?;
    if let Some(event) = newest.first() {
        return Ok(event.state_after);
    }
    // A timeline that shows all of a room begins before it was made: the first members are its maker alone.
    let first = app
        .rooms
        .timeline(view, room, upto, latest, Direction::Forward, 2)
        .await?;
    first
        .last()
        .map(|event| event.state_after)
        .ok_or_else(|| Error::not_found("there was no room then"))
}

/// With both given, either is enough, as the specification says.
fn wanted(request: &Request, membership: &MembershipState) -> bool {
    match (&request.membership, &request.not_membership) {
        (None, None) => true,
        (is, not) => {
            is.as_ref() == Some(membership) || not.as_ref().is_some_and(|not| not != membership)
        }
    }
}
