//! `GET /_matrix/client/v3/capabilities`

use std::collections::BTreeMap;

use hearth_protocol::RoomVersion;
use hearth_users::Session;
use ruma::api::client::discovery::get_capabilities::v3::Request;
use serde_json::{Value, json};

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// Written out rather than left to Ruma's defaults, some of which mean "yes" when absent.
pub(super) async fn get_capabilities(
    app: App,
    session: Session,
    _: Request,
) -> Result<impl Answer, Error> {
    let mut answer = capabilities(app.settings.default_room_version);
    if session.admin {
        answer["capabilities"]["m.account_moderation"] = json!({ "lock": true, "suspend": true });
    }
    Ok(Json(answer))
}

fn capabilities(default: RoomVersion) -> Value {
    let available: BTreeMap<&str, &str> = RoomVersion::ALL
        .into_iter()
        .map(|version| (version.as_str(), version.stability()))
        .collect();
    json!({ "capabilities": {
        "m.3pid_changes": { "enabled": false },
        "m.change_password": { "enabled": true },
        "m.get_login_token": { "enabled": true },
        "m.profile_fields": { "enabled": true },
        "m.room_versions": { "default": default.as_str(), "available": available },
        "m.set_avatar_url": { "enabled": true },
        "m.set_displayname": { "enabled": true },
    } })
}
