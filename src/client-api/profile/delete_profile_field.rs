//! `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`

use hearth_users::Session;
use ruma::api::client::profile::delete_profile_field::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn delete_profile_field(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::change(
        &app,
        &session,
        &request.user_id,
        request.field.as_str(),
        None,
    )
    .await?;
    Ok(Response::new())
}
