//! Messages from device to device.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#send-to-device-messaging>

use crate::routes::Routes;

mod send_event_to_device;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(send_event_to_device::send_event_to_device)
}
