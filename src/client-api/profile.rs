//! Profiles.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#profiles>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
