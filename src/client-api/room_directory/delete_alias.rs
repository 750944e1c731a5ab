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
        .delete_alias(&request.room_alias, &session.user_id, session.admin)
        .await?;
    Ok(Response::new())
}
