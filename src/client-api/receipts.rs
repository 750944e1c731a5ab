//! How far users have read.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receipts> and
//! <https://spec.matrix.org/latest/client-server-api/#read-and-unread-markers>

use crate::routes::Routes;

mod create_receipt;
mod markers;
mod set_read_marker;

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(create_receipt::create_receipt)
        .user(set_read_marker::set_read_marker)
}
