//! The devices of users of this server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#device-management>

use crate::routes::Routes;

mod get_devices;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(get_devices::get_devices)
}
