//! `POST /_matrix/client/v3/account/3pid/add`

use hearth_users::Session;
use ruma::api::{
    client::account::add_3pid::v3::{Request, Response},
    error::ErrorKind,
};

use crate::{App, error::Error};

/// No address was ever proven to this server.
pub(super) async fn add_3pid(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Err(Error::bad_request(
        ErrorKind::ThreepidAuthFailed,
        "this address or number was not proven",
    ))
}
