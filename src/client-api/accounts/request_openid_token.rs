//! `POST /_matrix/client/v3/user/{userId}/openid/request_token`

use hearth_users::Session;
use ruma::{
    api::client::account::request_openid_token::v3::{Request, Response},
    authentication::TokenType,
};

use crate::{App, error::Error};

pub(super) async fn request_openid_token(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if request.user_id != session.user_id {
        return Err(Error::forbidden("this is another user"));
    }
    let (token, expires_in) = app.users.openid_token(&session.user_id).await?;
    let server = app.settings.server_name.clone();
    Ok(Response::new(token, TokenType::Bearer, server, expires_in))
}
