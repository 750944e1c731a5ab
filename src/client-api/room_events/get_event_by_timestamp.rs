//! `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`

use hearth_users::Session;
use ruma::api::client::room::get_event_by_timestamp::v1::{Request, Response};

use crate::{App, error::Error, tokens};

pub(super) async fn get_event_by_timestamp(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let event = app
        .rooms
        .event_near(
            &view,
            &session.user_id,
            &request.room_id,
            request.ts,
            tokens::direction(request.dir),
        )
        .await?;
    Ok(Response::new(
        event.event_id().to_owned(),
        event.pdu.origin_server_ts(),
    ))
}
