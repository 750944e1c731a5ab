//! `POST /_matrix/client/v3/rooms/{roomId}/forget`

use hearth_users::Session;
use ruma::api::client::membership::forget_room::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn forget_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.rooms.forget(&request.room_id, &session.user_id).await?;
    Ok(Response::new())
}
