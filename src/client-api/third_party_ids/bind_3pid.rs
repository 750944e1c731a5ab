//! `POST /_matrix/client/v3/account/3pid/bind`

use hearth_users::Session;
use ruma::api::{
    client::account::bind_3pid::v3::{Request, Response},
    error::ErrorKind,
};

use crate::{App, error::Error};

/// This server talks to no identity server.
pub(super) async fn bind_3pid(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Err(Error::bad_request(
        ErrorKind::ServerNotTrusted,
        "no identity server is trusted here",
    ))
}
