//! `GET /_matrix/client/v3/admin/whois/{userId}`

use hearth_users::Session;
use ruma::api::client::admin::get_user_info::v3::Request;
use serde_json::{Map, Value, json};

use crate::{App, answer::Json, error::Error};

/// Users may ask about themselves, administrators about everybody. Addresses and user agents are not kept, so they are not
/// told: Ruma's type would write null.
pub(super) async fn get_user_info(
    app: App,
    session: Session,
    request: Request,
) -> Result<Json<Value>, Error> {
    let user = request.user_id;
    if user != session.user_id && !session.admin {
        return Err(Error::forbidden("only administrators may ask about others"));
    }
    let view = app.store.view().await?;
    if app.users.account(&view, &user).await?.is_none() {
        return Err(Error::not_found("no such user here"));
    }
    let devices = app.users.devices(&view, &user).await?;
    let devices = devices.into_iter().map(|device| {
        let connection = json!({ "last_seen": device.last_seen.0 });
        let sessions = json!({ "sessions": [{ "connections": [connection] }] });
        (device.device_id.to_string(), sessions)
    });
    let devices: Map<String, Value> = devices.collect();
    Ok(Json(json!({ "user_id": user, "devices": devices })))
}
