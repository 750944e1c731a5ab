//! What lies outside: bridged networks and relays for calls. There are none until an operator sets some up, and the
//! specification's form of "none" is an empty object.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#third-party-networks> and
//! <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3voipturnserver>

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::api::client::{
    thirdparty::get_protocols::v3::{Request, Response},
    voip::get_turn_server_info::v3::Request as TurnRequest,
};
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
    routes::Routes,
};

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_protocols)
        .user(get_turn_server_info)
}

async fn get_protocols(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Ok(Response::new(BTreeMap::new()))
}

async fn get_turn_server_info(
    _: App,
    _: Session,
    _: TurnRequest,
) -> Result<impl Answer, Error> {
    Ok(Json(json!({})))
}
