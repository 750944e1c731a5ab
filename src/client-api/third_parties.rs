//! Bridged networks. There are none until an operator sets some up, and the specification's form of "none" is an empty
//! object, or that a network, a place or a user of one is not found.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#third-party-networks>

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol,
    get_protocols::v3::{Request, Response},
    get_user_for_protocol, get_user_for_user_id,
};
use serde_json::Value;

use crate::{App, answer::Json, error::Error, routes::Routes};

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_protocols)
        .user(unknown::<get_protocol::v3::Request>)
        .user(unknown::<get_location_for_protocol::v3::Request>)
        .user(unknown::<get_location_for_room_alias::v3::Request>)
        .user(unknown::<get_user_for_protocol::v3::Request>)
        .user(unknown::<get_user_for_user_id::v3::Request>)
}

async fn get_protocols(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Ok(Response::new(BTreeMap::new()))
}

async fn unknown<T: Send>(_: App, _: Session, _: T) -> Result<Json<Value>, Error> {
    Err(Error::not_found("no such network is bridged here"))
}
