//! `GET /_matrix/client/v3/login`

use ruma::api::client::session::get_login_types::v3::{
    LoginType, PasswordLoginType, Request, Response,
};

use crate::{App, error::Error};

pub(super) async fn get_login_types(_: App, _: Request) -> Result<Response, Error> {
    let password = LoginType::Password(PasswordLoginType::new());
    Ok(Response::new(vec![password]))
}
