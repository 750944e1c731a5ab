//! `POST /_matrix/client/v3/refresh`

use ruma::api::client::session::refresh_token::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn refresh_token(app: App, request: Request) -> Result<Response, Error> {
    let login = app.users.refresh(&request.refresh_token).await?;
    let mut response = Response::new(login.access_token);
    response.refresh_token = login.refresh_token;
    response.expires_in_ms = login.expires_in;
    Ok(response)
}
