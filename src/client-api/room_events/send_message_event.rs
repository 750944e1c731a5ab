//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::{
    OwnedEventId,
    api::client::message::send_message_event::v3::{Request, Response},
    events::MessageLikeEventType,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::transaction;
use crate::{App, error::Error};

/// The content is passed on as the client wrote it; what no event may contain is refused by `rooms`.
pub(super) async fn send_message_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let content = request.body.into_json();
    let redacts = match request.event_type {
        MessageLikeEventType::RoomRedaction => Some(redacted(&content)?),
        _ => None,
    };
    let event = NewEvent {
        redacts,
        transaction: Some(transaction(&session, request.txn_id)),
        ..NewEvent::message(
            request.room_id,
            session.user_id,
            request.event_type.to_string(),
            content,
        )
    };
    Ok(Response::new(app.rooms.send(event).await?))
}

/// The event that a redaction names, which goes where the room's version has it.
fn redacted(content: &RawValue) -> Result<OwnedEventId, Error> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    serde_json::from_str::<Content>(content.get())
        .map(|content| content.redacts)
        .map_err(|error| Error::bad_json(format!("a redaction names an event: {error}")))
}
