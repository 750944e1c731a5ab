//! `GET /_matrix/client/v3/account/whoami`

use hearth_users::Session;
use ruma::api::client::account::whoami::v3::Request;
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// Says whether the user is a guest, which Ruma's form would leave to be guessed.
pub(super) async fn whoami(_: App, session: Session, _: Request) -> Result<impl Answer, Error> {
    Ok(Json(json!({
        "user_id": session.user_id,
        "device_id": session.device_id,
        "is_guest": session.guest,
    })))
}
