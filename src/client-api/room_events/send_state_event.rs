//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::{
    api::client::state::send_state_event::v3::{Request, Response},
    events::StateEventType,
};

use crate::{App, error::Error, guests};

/// The content is passed on as the client wrote it; what no event may contain is refused by `rooms`.
pub(super) async fn send_state_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let room_id = request.room_id;
    let may_turn_out = request.event_type == StateEventType::RoomGuestAccess;
    let (kind, key) = (request.event_type.to_string(), &request.state_key);
    crate::invitees::admit(&app, &kind, key, request.body.json()).await?;
    let event = NewEvent::state(
        room_id.clone(),
        session.user_id,
        kind,
        request.state_key,
        request.body.into_json(),
    );
    let event_id = app.rooms.send(event).await?;
    if may_turn_out {
        guests::turn_out(&app, &room_id).await?;
    }
    Ok(Response::new(event_id))
}
