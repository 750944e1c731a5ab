//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::api::client::state::send_state_event::v3::{Request, Response};

use crate::{App, error::Error};

/// The content is passed on as the client wrote it; what no event may contain is refused by `rooms`.
pub(super) async fn send_state_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let event = NewEvent::state(
        request.room_id,
        session.user_id,
        request.event_type.to_string(),
        request.state_key,
        request.body.into_json(),
    );
    Ok(Response::new(app.rooms.send(event).await?))
}
