//! Events and states of rooms.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#retrieving-events>

use crate::routes::Routes;

mod get_event;
mod get_event_by_timestamp;
mod get_missing_events;
mod get_room_state;
mod get_room_state_ids;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .server(get_event::get_event)
        .server(get_event_by_timestamp::get_event_by_timestamp)
        .server(get_missing_events::get_missing_events)
        .server(get_room_state::get_room_state)
        .server(get_room_state_ids::get_room_state_ids)
}
