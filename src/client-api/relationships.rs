//! Events that refer to another: edits, reactions, threads.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events> and
//! <https://spec.matrix.org/latest/client-server-api/#threading>

use crate::routes::Routes;

mod children;
mod get_relating_events;
mod get_relating_events_with_rel_type;
mod get_relating_events_with_rel_type_and_event_type;
mod get_threads;

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_relating_events::get_relating_events)
        .user(get_relating_events_with_rel_type::get_relating_events_with_rel_type)
        .user(
            get_relating_events_with_rel_type_and_event_type::get_relating_events_with_rel_type_and_event_type,
        )
        .user(get_threads::get_threads)
}
