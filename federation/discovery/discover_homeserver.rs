//! `GET /.well-known/matrix/server`

use ruma::{
    OwnedServerName,
    api::federation::discovery::discover_homeserver::{Request, Response},
};

use crate::{Error, Federation};

/// Where other servers reach this one; 404 where the operator announces nothing.
pub(super) async fn discover_homeserver(
    federation: Federation,
    _: Request,
) -> Result<Response, Error> {
    let announced = federation.announced.as_deref();
    let announced = announced.and_then(|name| OwnedServerName::try_from(name).ok());
    announced
        .map(Response::new)
        .ok_or_else(|| Error::not_found("this server announces no other address"))
}
