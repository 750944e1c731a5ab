//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::api::client::redact::redact_event::v3::{Request, Response};
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::transaction;
use crate::{App, error::Error};

#[derive(Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn redact_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let content = Content {
        reason: request.reason,
    };
    let content = to_raw_value(&content).map_err(|error| Error::internal(&error))?;
    let event = NewEvent {
        redacts: Some(request.event_id),
        transaction: Some(transaction(&session, request.txn_id)),
        ..NewEvent::message(
            request.room_id,
            session.user_id,
            "m.room.redaction",
            content,
        )
    };
    Ok(Response::new(app.rooms.send(event).await?))
}
