//! `GET` and `PUT /_synapse/admin/v2/users/{userId}`, documented at
//! <https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html>.

use axum::{body::Body, response::Response};
use hearth_store::View;
use hearth_users::{Account, NewAccount};
use http::{StatusCode, request::Parts};
use ruma::UserId;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::call::Call;
use crate::{
    App,
    accounts::{close, set_password},
    answer::{Answer, Json, json_response},
    error::Error,
    profile,
};

/// What is to be different; what is absent stays.
#[derive(Deserialize)]
struct Change {
    password: Option<String>,
    #[serde(default = "yes")]
    logout_devices: bool,
    displayname: Option<String>,
    avatar_url: Option<String>,
    admin: Option<bool>,
    deactivated: Option<bool>,
}

fn yes() -> bool {
    true
}

/// What is known of an account.
pub(super) async fn get_user(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let user = call.user(&app)?;
    Json(described(&app, &user).await?).into_http()
}

/// Makes an account or changes it.
pub(super) async fn put_user(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Change>::read(&app, parts, body).await?;
    let (user, change) = (call.user(&app)?, &call.body);
    let view = app.store.view().await?;
    let status = match app.users.account(&view, &user).await? {
        None => {
            super::check_name(&app, user.localpart()).await?;
            let account = NewAccount {
                admin: change.admin.unwrap_or(false),
                ..NewAccount::new(user.clone(), change.password.clone())
            };
            app.users.register(account, None).await?;
            StatusCode::CREATED
        }
        Some(_) => {
            amend(&app, &call.session.user_id, &user, change).await?;
            StatusCode::OK
        }
    };
    for (field, value) in [
        ("displayname", &change.displayname),
        ("avatar_url", &change.avatar_url),
    ] {
        if let Some(value) = value {
            let value = Some(Value::from(value.as_str())).filter(|_| !value.is_empty());
            profile::set(&app, &user, field, value).await?;
        }
    }
    if change.deactivated == Some(true) {
        close(&app, &user, false).await?;
    }
    json_response(status, &described(&app, &user).await?)
}

/// Changes an account that is there.
async fn amend(app: &App, by: &UserId, user: &UserId, change: &Change) -> Result<(), Error> {
    if change.deactivated == Some(false) {
        let view = app.store.view().await?;
        let account = app.users.account(&view, user).await?;
        if account.is_some_and(|account| account.deactivated) {
            return Err(Error::forbidden("an account is closed for good"));
        }
    }
    if change.admin == Some(false) && by == user {
        return Err(Error::forbidden("you cannot take this from yourself"));
    }
    if let Some(password) = &change.password {
        set_password(app, user, password.clone(), change.logout_devices, None).await?;
    }
    if let Some(admin) = change.admin {
        app.users.set_admin(user, admin).await?;
    }
    Ok(())
}

async fn described(app: &App, user: &UserId) -> Result<Value, Error> {
    let view = app.store.view().await?;
    let account = app.users.account(&view, user).await?;
    let account = account.ok_or_else(|| Error::not_found("there is no such user here"))?;
    shown(app, &view, user, &account).await
}

/// An account as administrators see it.
pub(super) async fn shown(
    app: &App,
    view: &View,
    user: &UserId,
    account: &Account,
) -> Result<Value, Error> {
    let profile = app.users.profile(view, user).await?;
    Ok(json!({
        "name": user,
        "displayname": profile.displayname,
        "avatar_url": profile.avatar_url,
        "admin": account.admin,
        "deactivated": account.deactivated,
        "erased": account.erased,
        "creation_ts": account.created.0 / 1000,
        "is_guest": account.guest,
        "shadow_banned": false,
        "locked": account.locked,
        "suspended": account.suspended,
        "user_type": null,
        "appservice_id": null,
        "threepids": [],
        "external_ids": [],
    }))
}
