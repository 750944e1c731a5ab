//! What vouches for events.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#retrieve-authorization-for-an-event>

use crate::routes::Routes;

mod get_event_authorization;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(get_event_authorization::get_event_authorization)
}
