//! `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`

use hearth_users::Session;
use ruma::api::client::tag::get_tags::v3::Request;
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

pub(super) async fn get_tags(
    app: App,
    session: Session,
    request: Request,
) -> Result<impl Answer, Error> {
    super::check_owner(&session, &request.user_id)?;
    let view = app.store.view().await?;
    let tags = app
        .users
        .tags(&view, &session.user_id, &request.room_id)
        .await?;
    Ok(Json(json!({ "tags": tags })))
}
