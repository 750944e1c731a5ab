//! Device keys, one-time keys, cross-signing.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#key-management-api>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
