//! `GET /_matrix/client/v3/voip/turnServer`

use hearth_users::Session;
use ruma::api::client::voip::get_turn_server_info::v3::Request;
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// An empty object, which clients understand as: there is no relay for calls.
pub(super) async fn get_turn_server_info(
    _: App,
    _: Session,
    _: Request,
) -> Result<impl Answer, Error> {
    Ok(Json(json!({})))
}
