//! `GET /_matrix/client/v3/rooms/{roomId}/state`

use hearth_users::Session;
use ruma::api::client::state::get_state_events::v3::{Request, Response};

use super::with_members;
use crate::{App, error::Error, show};

/// The present state; for a user who left, the state as it was then.
pub(super) async fn get_state_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = with_members(&app, &session, &request.room_id).await?;
    let (head, root) = app
        .rooms
        .readable_state(&view, &session.user_id, &request.room_id)
        .await?;
    let events = app.rooms.full_state(&view, &head, root, None).await?;
    let shown = events
        .iter()
        .map(|event| show::plain(&app, &session, event))
        .collect();
    Ok(Response::new(shown))
}
