//! What a space holds.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#spaces>

use crate::routes::Routes;

mod get_hierarchy;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(get_hierarchy::get_hierarchy)
}
