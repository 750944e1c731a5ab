//! `PUT /_matrix/client/v3/profile/{userId}/{keyName}`

use hearth_users::Session;
use ruma::api::client::profile::set_profile_field::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_profile_field(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let field = request.value.field_name();
    let value = request.value.value().into_owned();
    super::change(
        &app,
        &session,
        &request.user_id,
        field.as_str(),
        Some(value),
    )
    .await?;
    Ok(Response::new())
}
