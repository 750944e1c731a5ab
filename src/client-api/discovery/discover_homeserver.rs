//! `GET /.well-known/matrix/client`: where clients reach this server.

use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// Served without a body limit or a login; 404 where the operator announces nothing, as the specification asks.
pub(super) async fn discover_homeserver(app: App, _: Parts, _: Body) -> Result<Response, Error> {
    match &app.settings.base_url {
        Some(base_url) => Json(json!({ "m.homeserver": { "base_url": base_url } })).into_http(),
        None => Err(Error::new(
            StatusCode::NOT_FOUND,
            ruma::api::error::ErrorKind::NotFound,
            "this server announces no address",
        )),
    }
}
