//! `GET /_matrix/client/v1/admin/suspend/{userId}`

use hearth_users::Session;
use ruma::api::client::admin::is_user_suspended::v1::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn is_user_suspended(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let account = super::account(&app, &session, &request.user_id).await?;
    Ok(Response::new(account.suspended))
}
