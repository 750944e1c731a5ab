//! What administrators may ask: by the specification, and in the form of Synapse's admin API, which scripts and consoles use.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-administration>

use http::Method;
use ruma::OwnedUserId;

use crate::{App, error::Error, routes::Routes};

mod account;
mod call;
mod get_user_info;
mod list_users;
pub(crate) mod notices;
mod send_server_notice;
mod tell_administrators;
mod user;

pub use tell_administrators::tell_administrators;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    const NOTICE: &str = "/_synapse/admin/v1/send_server_notice";
    const NOTICE_ONCE: &str = "/_synapse/admin/v1/send_server_notice/{txn_id}";
    const USERS: &str = "/_synapse/admin/v2/users";
    const USER: &str = "/_synapse/admin/v2/users/{user_id}";
    const ADMIN: &str = "/_synapse/admin/v1/users/{user_id}/admin";
    const ROOMS: &str = "/_synapse/admin/v1/users/{user_id}/joined_rooms";
    const DEACTIVATE: &str = "/_synapse/admin/v1/deactivate/{user_id}";
    const PASSWORD: &str = "/_synapse/admin/v1/reset_password/{user_id}";
    const AVAILABLE: &str = "/_synapse/admin/v1/username_available";
    const VERSION: &str = "/_synapse/admin/v1/server_version";
    Routes::new()
        .user(get_user_info::get_user_info)
        .raw(Method::POST, NOTICE, send_server_notice::send_server_notice)
        .raw(
            Method::PUT,
            NOTICE_ONCE,
            send_server_notice::send_server_notice,
        )
        .raw(Method::GET, USERS, list_users::list_users)
        .raw(Method::GET, USER, user::get_user)
        .raw(Method::PUT, USER, user::put_user)
        .raw(Method::GET, ADMIN, account::is_admin)
        .raw(Method::PUT, ADMIN, account::set_admin)
        .raw(Method::GET, ROOMS, account::joined_rooms)
        .raw(Method::POST, DEACTIVATE, account::deactivate)
        .raw(Method::POST, PASSWORD, account::reset_password)
        .raw(Method::GET, AVAILABLE, account::username_available)
        .raw(Method::GET, VERSION, account::server_version)
}

/// The identifier of `name`, if an account of that name can be made by a person: the name under which the server itself
/// speaks cannot.
///
/// # Errors
/// 400 `M_INVALID_USERNAME`, `M_USER_IN_USE`.
pub(crate) async fn check_name(app: &App, name: &str) -> Result<OwnedUserId, Error> {
    let user = app.users.check_name(name).await?;
    if user.localpart() == app.settings.notices.user {
        return Err(Error::bad_request(
            ruma::api::error::ErrorKind::UserInUse,
            "the server speaks under this name",
        ));
    }
    Ok(user)
}
