//! `GET /_matrix/client/v3/login`

use ruma::api::client::session::get_login_types::v3::{
    LoginType, PasswordLoginType, Request, Response, TokenLoginType,
};

use crate::{App, error::Error};

pub(super) async fn get_login_types(_: App, _: Request) -> Result<Response, Error> {
    let password = LoginType::Password(PasswordLoginType::new());
    let mut token = TokenLoginType::new();
    token.get_login_token = true;
    Ok(Response::new(vec![password, LoginType::Token(token)]))
}
