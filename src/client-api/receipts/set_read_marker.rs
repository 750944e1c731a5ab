//! `POST /_matrix/client/v3/rooms/{roomId}/read_markers`

use hearth_users::Session;
use ruma::{
    api::client::read_marker::set_read_marker::v3::{Request, Response},
    events::receipt::ReceiptThread,
};

use super::markers::{self, Kind};
use crate::{App, error::Error};

pub(super) async fn set_read_marker(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let room = request.room_id;
    if let Some(event) = request.fully_read {
        markers::fully_read(&app, &session, &room, &event).await?;
    }
    let receipts = [
        (Kind::Public, request.read_receipt),
        (Kind::Private, request.private_read_receipt),
    ];
    for (kind, event) in receipts {
        if let Some(event) = event {
            let thread = ReceiptThread::Unthreaded;
            markers::receipt(&app, &session, &room, kind, &event, thread).await?;
        }
    }
    Ok(Response::new())
}
