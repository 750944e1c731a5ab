//! Account data and tags.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#client-config>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
