//! `POST /_synapse/admin/v1/send_server_notice` and `PUT /_synapse/admin/v1/send_server_notice/{txnId}`, documented at
//! <https://element-hq.github.io/synapse/latest/admin_api/server_notices.html>.

use axum::{body::Body, response::Response};
use hearth_rooms::{NewEvent, Transaction};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{call::Call, notices};
use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

#[derive(Deserialize)]
struct Notice {
    user_id: String,
    content: Box<RawValue>,
    #[serde(rename = "type", default = "message")]
    event_type: String,
    state_key: Option<String>,
}

fn message() -> String {
    "m.room.message".to_owned()
}

/// Tells a user of this server something, in a room that is for that alone.
pub(super) async fn send_server_notice(
    app: App,
    parts: Parts,
    body: Body,
) -> Result<Response, Error> {
    let call = Call::<Notice>::read(&app, parts, body).await?;
    let notice = &call.body;
    let user = app.users.local_user(&notice.user_id).map_err(|_| {
        Error::bad_request(
            ruma::api::error::ErrorKind::Unknown,
            "this is no user of this server",
        )
    })?;
    let view = app.store.view().await?;
    let account = app.users.account(&view, &user).await?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(Error::not_found("there is no such user here"));
    }
    let sender = notices::sender(&app).await?;
    let room = notices::room(&app, &sender, &user).await?;
    let transaction = match call.argument(0) {
        "" => None,
        id => Some(Transaction {
            user: call.session.user_id.clone(),
            device: call.session.device_id.clone(),
            id: id.to_owned(),
        }),
    };
    let event = NewEvent {
        state_key: notice.state_key.clone(),
        transaction,
        ..NewEvent::message(room, sender, &notice.event_type, notice.content.clone())
    };
    let event_id = app.rooms.send(event).await?;
    Json(json!({ "event_id": event_id })).into_http()
}
