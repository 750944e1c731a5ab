//! `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`

use hearth_users::Session;
use ruma::api::client::to_device::send_event_to_device::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn send_event_to_device(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let sender = (&*session.user_id, &*session.device_id);
    let kind = request.event_type.to_string();
    app.users
        .send_to_device(sender, &kind, &request.txn_id, &request.messages)
        .await?;
    Ok(Response::new())
}
