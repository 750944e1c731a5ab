//! `GET /_matrix/client/v3/rooms/{roomId}/aliases`

use hearth_users::Session;
use ruma::api::client::room::aliases::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn aliases(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    app.rooms
        .readable_state(&view, &session.user_id, &request.room_id)
        .await?;
    let aliases = app.rooms.aliases_of(&view, &request.room_id).await?;
    Ok(Response::new(aliases))
}
