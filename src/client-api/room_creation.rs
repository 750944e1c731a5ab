//! New rooms, and new rooms in place of old ones.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#creation> and
//! <https://spec.matrix.org/latest/client-server-api/#room-upgrades>

use crate::routes::Routes;

mod create_room;
mod upgrade_room;

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(create_room::create_room)
        .user(upgrade_room::upgrade_room)
}
