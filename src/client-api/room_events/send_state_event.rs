//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`

use hearth_protocol::check_content;
use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::api::client::state::send_state_event::v3::{Request, Response};

use crate::{App, error::Error};

/// The content is checked and passed on as the client wrote it.
pub(super) async fn send_state_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let content = request.body.into_json();
    check_content(&content)?;
    let event = NewEvent::state(
        request.room_id,
        session.user_id,
        request.event_type.to_string(),
        request.state_key,
        content,
    );
    let event_id = app.rooms.send(event).await?;
    Ok(Response::new(event_id))
}
