//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::api::client::message::send_message_event::v3::{Request, Response};

use super::transaction;
use crate::{App, error::Error};

/// The content is passed on as the client wrote it; what no event may contain is refused by `rooms`.
pub(super) async fn send_message_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let event = NewEvent {
        transaction: Some(transaction(&session, request.txn_id)),
        ..NewEvent::message(
            request.room_id,
            session.user_id,
            request.event_type.to_string(),
            request.body.into_json(),
        )
    };
    Ok(Response::new(app.rooms.send(event).await?))
}
