//! `PUT /_matrix/client/v1/admin/lock/{userId}`

use hearth_users::Session;
use ruma::api::client::admin::lock_user::v1::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn lock_user(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    super::changeable(&app, &session, &request.user_id).await?;
    let (user, locked) = (&request.user_id, request.locked);
    app.users.set_locked(user, locked).await?;
    Ok(Response::new(locked))
}
