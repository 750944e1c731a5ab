//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`

use hearth_protocol::check_content;
use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::{
    CanonicalJsonValue, OwnedEventId,
    api::client::message::send_message_event::v3::{Request, Response},
};

use super::transaction;
use crate::{App, error::Error};

/// The content is checked and passed on as the client wrote it.
pub(super) async fn send_message_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let content = request.body.into_json();
    let checked = check_content(&content)?;
    let event_type = request.event_type.to_string();
    // A redaction may be sent as any other event; what it empties is then named in its content.
    let redacts = match checked.get("redacts") {
        Some(CanonicalJsonValue::String(id)) if event_type == "m.room.redaction" => Some(
            OwnedEventId::try_from(id.as_str())
                .map_err(|_| Error::bad_json("redacts is not an event id"))?,
        ),
        _ => None,
    };
    let event = NewEvent {
        redacts,
        transaction: Some(transaction(&session, request.txn_id)),
        ..NewEvent::message(request.room_id, session.user_id, event_type, content)
    };
    Ok(Response::new(app.rooms.send(event).await?))
}
