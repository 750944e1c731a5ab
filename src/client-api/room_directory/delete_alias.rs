//! `DELETE /_matrix/client/v3/directory/room/{roomAlias}`

use hearth_users::Session;
use ruma::api::client::alias::delete_alias::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn delete_alias(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.rooms
        .delete_alias(&session.user_id, &request.room_alias)
        .await?;
    Ok(Response::new())
}
