//! This server as the policy server of rooms.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#policy-servers>

use crate::routes::Routes;

mod sign_event;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(sign_event::sign_event)
}
