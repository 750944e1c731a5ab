//! Bridged networks. There are none until an operator sets some up, and the specification's form of "none" is an empty
//! object.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#third-party-networks>

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::api::client::thirdparty::get_protocols::v3::{Request, Response};

use crate::{App, error::Error, routes::Routes};

/// The endpoint of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(get_protocols)
}

async fn get_protocols(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Ok(Response::new(BTreeMap::new()))
}
