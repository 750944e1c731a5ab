//! What administrators do with one account under `/_synapse/admin/v1/…`, beside showing and changing it as a whole; documented
//! at <https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html>.

use axum::{body::Body, response::Response};
use http::request::Parts;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::call::Call;
use crate::{
    App,
    accounts::{close, set_password},
    answer::{Answer, Json},
    error::Error,
};

#[derive(Deserialize)]
struct Deactivation {
    #[serde(default)]
    erase: bool,
}

/// `POST /_synapse/admin/v1/deactivate/{userId}`
pub(super) async fn deactivate(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Deactivation>::read(&app, parts, body).await?;
    close(&app, &call.user(&app)?, call.body.erase).await?;
    // Third-party identifiers were never bound anywhere.
    Json(json!({ "id_server_unbind_result": "success" })).into_http()
}

#[derive(Deserialize)]
struct NewPassword {
    new_password: String,
    #[serde(default = "yes")]
    logout_devices: bool,
}

fn yes() -> bool {
    true
}

/// `POST /_synapse/admin/v1/reset_password/{userId}`
pub(super) async fn reset_password(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<NewPassword>::read(&app, parts, body).await?;
    let (user, new) = (call.user(&app)?, &call.body);
    set_password(
        &app,
        &user,
        new.new_password.clone(),
        new.logout_devices,
        None,
    )
    .await?;
    Json(json!({})).into_http()
}

/// `GET /_synapse/admin/v1/users/{userId}/admin`
pub(super) async fn is_admin(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let view = app.store.view().await?;
    let account = app.users.account(&view, &call.user(&app)?).await?;
    let account = account.ok_or_else(|| Error::not_found("there is no such user here"))?;
    Json(json!({ "admin": account.admin })).into_http()
}

#[derive(Deserialize)]
struct Standing {
    admin: bool,
}

/// `PUT /_synapse/admin/v1/users/{userId}/admin`
pub(super) async fn set_admin(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Standing>::read(&app, parts, body).await?;
    let (user, admin) = (call.user(&app)?, call.body.admin);
    if user == call.session.user_id && !admin {
        return Err(Error::forbidden("you cannot take this from yourself"));
    }
    app.users.set_admin(&user, admin).await?;
    Json(json!({})).into_http()
}

/// `GET /_synapse/admin/v1/users/{userId}/joined_rooms`
pub(super) async fn joined_rooms(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let view = app.store.view().await?;
    let rooms = app.rooms.joined_rooms(&view, &call.user(&app)?).await?;
    Json(json!({ "total": rooms.len(), "joined_rooms": rooms })).into_http()
}

/// `GET /_synapse/admin/v1/username_available`
pub(super) async fn username_available(
    app: App,
    parts: Parts,
    body: Body,
) -> Result<Response, Error> {
    let call = Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let name = call
        .query("username")
        .ok_or_else(|| Error::missing_param("the query names no username"))?;
    super::check_name(&app, name).await?;
    Json(json!({ "available": true })).into_http()
}

/// `GET /_synapse/admin/v1/server_version`
pub(super) async fn server_version(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let version = concat!("Hearth ", env!("CARGO_PKG_VERSION"));
    Json(json!({ "server_version": version })).into_http()
}
