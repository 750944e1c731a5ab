//! Filters.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
