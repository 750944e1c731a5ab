//! `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`

use hearth_users::Session;
use ruma::api::client::config::set_global_account_data::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_global_account_data(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::check_owner(&session, &request.user_id)?;
    let kind = request.event_type.to_string();
    super::check_kind(&kind)?;
    app.users
        .set_account_data(&session.user_id, None, &kind, request.data.json())
        .await?;
    Ok(Response::new())
}
