//! `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`

use hearth_users::Session;
use ruma::{
    api::client::config::get_room_account_data::v3::{Request, Response},
    serde::Raw,
};

use crate::{App, error::Error};

pub(super) async fn get_room_account_data(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::check_owner(&session, &request.user_id)?;
    let kind = request.event_type.to_string();
    let view = app.store.view().await?;
    let found = app
        .users
        .account_data(&view, &session.user_id, Some(&request.room_id), &kind)
        .await?;
    let content = found.ok_or_else(super::not_found)?;
    Ok(Response::new(Raw::from_json(content)))
}
