//! The public rooms of this server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#published-room-directory>

use crate::routes::Routes;

mod get_public_rooms;
mod get_public_rooms_filtered;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .server(get_public_rooms::get_public_rooms)
        .server(get_public_rooms_filtered::get_public_rooms_filtered)
}
