//! What clients keep at the server for themselves, tags included.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#client-config> and
//! <https://spec.matrix.org/latest/client-server-api/#room-tagging>

use hearth_users::Session;
use http::StatusCode;
use ruma::{UserId, api::error::ErrorKind};

use crate::{error::Error, routes::Routes};

mod create_tag;
mod delete_tag;
mod get_global_account_data;
mod get_room_account_data;
mod get_tags;
mod set_global_account_data;
mod set_room_account_data;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(create_tag::create_tag)
        .user(delete_tag::delete_tag)
        .user(get_global_account_data::get_global_account_data)
        .user(get_room_account_data::get_room_account_data)
        .user(get_tags::get_tags)
        .user(set_global_account_data::set_global_account_data)
        .user(set_room_account_data::set_room_account_data)
}

/// Everybody sees and changes their own alone.
pub(crate) fn check_owner(session: &Session, user: &UserId) -> Result<(), Error> {
    if *user != session.user_id {
        return Err(Error::forbidden("this belongs to another user"));
    }
    Ok(())
}

/// Some types are changed through endpoints of their own.
fn check_kind(kind: &str) -> Result<(), Error> {
    if matches!(kind, "m.fully_read" | "m.push_rules") {
        return Err(Error::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::BadJson,
            "this type of account data is controlled by the server",
        ));
    }
    Ok(())
}

fn not_found() -> Error {
    Error::not_found("there is no account data of this type")
}
