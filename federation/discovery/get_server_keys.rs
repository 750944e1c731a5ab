//! `GET /_matrix/key/v2/server`

use ruma::api::federation::discovery::get_server_keys::v2::{Request, Response};

use super::notary;
use crate::{Error, Federation, reach::own_list};

pub(super) async fn get_server_keys(federation: Federation, _: Request) -> Result<Response, Error> {
    let now = federation.clock.now();
    let list = own_list(&federation.key, now).map_err(|e| Error::internal(&e))?;
    Ok(Response::new(notary::raw(&list)?))
}
