//! `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`

use hearth_users::Session;
use ruma::api::client::receipt::create_receipt::v3::{ReceiptType, Request, Response};

use super::markers::{self, Kind};
use crate::{App, error::Error};

pub(super) async fn create_receipt(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (room, event, thread) = (request.room_id, request.event_id, request.thread);
    match request.receipt_type {
        ReceiptType::Read => {
            markers::receipt(&app, &session, &room, Kind::Public, &event, thread).await?;
        }
        ReceiptType::ReadPrivate => {
            markers::receipt(&app, &session, &room, Kind::Private, &event, thread).await?;
        }
        ReceiptType::FullyRead => markers::fully_read(&app, &session, &room, &event).await?,
        _ => return Err(Error::invalid_param("no such type of receipt")),
    }
    Ok(Response::new())
}
