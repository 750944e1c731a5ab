//! Messages from device to device.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#send-to-device-messaging>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
