//! `PUT /_matrix/client/v1/admin/suspend/{userId}`

use hearth_users::Session;
use ruma::api::client::admin::suspend_user::v1::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn suspend_user(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::changeable(&app, &session, &request.user_id).await?;
    let (user, suspended) = (&request.user_id, request.suspended);
    app.users.set_suspended(user, suspended).await?;
    Ok(Response::new(suspended))
}
