//! Push rules.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
