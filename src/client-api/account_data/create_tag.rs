//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`

use hearth_users::Session;
use ruma::api::client::tag::create_tag::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn create_tag(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::check_owner(&session, &request.user_id)?;
    let info = serde_json::to_value(&request.tag_info).map_err(|error| Error::internal(&error))?;
    app.users
        .set_tag(&session.user_id, &request.room_id, &request.tag, &info)
        .await?;
    Ok(Response::new())
}
