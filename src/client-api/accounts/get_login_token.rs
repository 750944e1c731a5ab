//! `POST /_matrix/client/v1/login/get_token`

use hearth_users::Session;
use ruma::api::client::session::get_login_token::v1::{Request, Response};

use super::interactive::{self, Interactive};
use crate::{App, error::Error};

/// A password is asked for: whoever picks up a device that was left lying about must not get another one logged in.
pub(super) async fn get_login_token(
    app: App,
    session: Session,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    interactive::require_password(&app, &session, request.auth, "login token").await?;
    let (token, lifetime) = app.users.issue_login_token(&session.user_id).await?;
    Ok(Response::new(lifetime, token))
}
