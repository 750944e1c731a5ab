//! Accounts that administrators lock or suspend, and what those still may do.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#account-moderation>

use hearth_users::{Account, Session};
use http::{Method, StatusCode, request::Parts};
use ruma::{UserId, api::error::ErrorKind};
use serde_json::json;

use crate::{App, error::Error, guests::is_among, routes::Routes};

mod is_user_locked;
mod is_user_suspended;
mod lock_user;
mod suspend_user;

/// What a locked user may call.
const WHILE_LOCKED: [(Method, &str); 2] = [(Method::POST, "logout"), (Method::POST, "logout/all")];

/// What a suspended user may not call.
const NOT_WHILE_SUSPENDED: [(Method, &str); 17] = [
    (Method::POST, "createRoom"),
    (Method::POST, "join/*"),
    (Method::POST, "knock/*"),
    (Method::POST, "rooms/*/join"),
    (Method::POST, "rooms/*/invite"),
    (Method::POST, "rooms/*/kick"),
    (Method::POST, "rooms/*/ban"),
    (Method::POST, "rooms/*/unban"),
    (Method::POST, "rooms/*/upgrade"),
    (Method::PUT, "rooms/*/send/*/*"),
    (Method::PUT, "rooms/*/state/*"),
    (Method::PUT, "rooms/*/state/*/*"),
    (Method::PUT, "profile/*/*"),
    (Method::DELETE, "profile/*/*"),
    (Method::PUT, "directory/room/*"),
    (Method::DELETE, "directory/room/*"),
    (Method::PUT, "directory/list/room/*"),
];

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(is_user_locked::is_user_locked)
        .user(is_user_suspended::is_user_suspended)
        .user(lock_user::lock_user)
        .user(suspend_user::suspend_user)
}

/// Lets a request in, unless the account of its sender does not allow it now.
pub(crate) fn admit(session: &Session, parts: &Parts) -> Result<(), Error> {
    let path = parts.uri.path();
    if session.locked && !is_among(&WHILE_LOCKED, &parts.method, path) {
        let body = json!({
            "errcode": "M_USER_LOCKED",
            "error": "this account is locked",
            "soft_logout": true,
        });
        return Err(Error::with_body(StatusCode::UNAUTHORIZED, body));
    }
    if session.suspended && is_among(&NOT_WHILE_SUSPENDED, &parts.method, path) {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            ErrorKind::UserSuspended,
            "this account is suspended",
        ));
    }
    Ok(())
}

/// The account of `user`, for an administrator. Whether the caller is one is found out first.
async fn account(app: &App, session: &Session, user: &UserId) -> Result<Account, Error> {
    if !session.admin {
        return Err(Error::forbidden("you are no administrator"));
    }
    if user.server_name() != app.settings.server_name {
        return Err(Error::invalid_param("this is no user of this server"));
    }
    let view = app.store.view().await?;
    let account = app.users.account(&view, user).await?;
    let account = account
        .filter(|account| !account.deactivated)
        .ok_or_else(|| Error::not_found("there is no such user"))?;
    // One's own standing may be read, not changed.
    if account.admin && *user != session.user_id {
        return Err(Error::forbidden("this is another administrator"));
    }
    Ok(account)
}

/// As [`account()`], to change it.
async fn changeable(app: &App, session: &Session, user: &UserId) -> Result<(), Error> {
    account(app, session, user).await?;
    match *user == session.user_id {
        true => Err(Error::forbidden("not your own account")),
        false => Ok(()),
    }
}
