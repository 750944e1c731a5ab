//! Registration, login, logout, passwords, deactivation.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#account-management>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
