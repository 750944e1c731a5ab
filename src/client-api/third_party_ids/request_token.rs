//! `POST /_matrix/client/v3/{register,account/3pid,account/password}/{email,msisdn}/requestToken`

use http::StatusCode;
use ruma::api::error::ErrorKind;
use serde_json::Value;

use crate::{App, answer::Json, error::Error};

/// Where an address is to be added: none can be.
pub(super) async fn denied<T: Send>(_: App, _: T) -> Result<Json<Value>, Error> {
    Err(Error::new(
        StatusCode::FORBIDDEN,
        ErrorKind::ThreepidDenied,
        "this server keeps no mail addresses and no telephone numbers",
    ))
}

/// Where an address is to prove whose account it is: it is nobody's.
pub(super) async fn unknown<T: Send>(_: App, _: T) -> Result<Json<Value>, Error> {
    Err(Error::bad_request(
        ErrorKind::ThreepidNotFound,
        "no account here has this address or number",
    ))
}
