//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`

use hearth_users::Session;
use ruma::api::client::room::get_room_event::v3::{Request, Response};

use crate::{App, error::Error, show};

/// An event that the user may not see is not told apart from one that does not exist.
pub(super) async fn get_room_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let event = app
        .rooms
        .visible_event(&view, &session.user_id, &request.room_id, &request.event_id)
        .await?;
    Ok(Response::new(
        show::event(&app, &view, &session, &event).await?,
    ))
}
