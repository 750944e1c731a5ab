//! `POST /_matrix/client/v3/rooms/{roomId}/forget`

use hearth_users::Session;
use ruma::api::client::membership::forget_room::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn forget_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.rooms.forget(&session.user_id, &request.room_id).await?;
    Ok(Response::new())
}
