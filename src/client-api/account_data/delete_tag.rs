//! `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`

use hearth_users::Session;
use ruma::api::client::tag::delete_tag::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn delete_tag(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::check_owner(&session, &request.user_id)?;
    app.users
        .delete_tag(&session.user_id, &request.room_id, &request.tag)
        .await?;
    Ok(Response::new())
}
