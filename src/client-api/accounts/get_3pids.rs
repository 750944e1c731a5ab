//! `GET /_matrix/client/v3/account/3pid`

use hearth_users::Session;
use ruma::api::client::account::get_3pids::v3::Request;
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// Mail addresses and telephone numbers are not kept here. The empty list is written out: Ruma's form would leave it away.
pub(super) async fn get_3pids(_: App, _: Session, _: Request) -> Result<impl Answer, Error> {
    Ok(Json(json!({ "threepids": [] })))
}
