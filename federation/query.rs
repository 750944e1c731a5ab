//! What other servers ask of users and aliases.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#querying-for-information>

use crate::routes::Routes;

mod get_custom_information;
mod get_profile_information;
mod get_room_information;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .server(get_custom_information::get_custom_information)
        .server(get_profile_information::get_profile_information)
        .server(get_room_information::get_room_information)
}
