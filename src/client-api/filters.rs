//! Filters that clients upload, to name them later.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use crate::routes::Routes;

mod create_filter;
mod get_filter;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(create_filter::create_filter)
        .user(get_filter::get_filter)
}
