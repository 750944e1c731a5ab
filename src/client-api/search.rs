//! Finding events by their words.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-side-search>

use crate::routes::Routes;

mod answer;
mod search_events;
mod seeking;

/// The endpoint of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(search_events::search_events)
}
