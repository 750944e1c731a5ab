//! `GET /_matrix/client/v1/register/m.login.registration_token/validity`

use ruma::api::client::account::check_registration_token_validity::v1::{Request, Response};

use crate::{App, Registration, error::Error};

pub(super) async fn check_registration_token_validity(
    app: App,
    request: Request,
) -> Result<Response, Error> {
    if app.settings.registration != Registration::Token {
        return Err(Error::forbidden("registration does not go by tokens here"));
    }
    let valid = app.users.registration_token_is_good(&request.token).await?;
    Ok(Response::new(valid))
}
