//! `GET /_matrix/client/v3/register/available`

use ruma::api::client::account::get_username_availability::v3::{Request, Response};

use crate::{App, Registration, administration::check_name, error::Error};

pub(super) async fn get_username_availability(
    app: App,
    request: Request,
) -> Result<Response, Error> {
    if app.settings.registration == Registration::Closed {
        return Err(Error::forbidden("registration is closed"));
    }
    check_name(&app, &request.username).await?;
    Ok(Response::new(true))
}
