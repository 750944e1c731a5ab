//! Key backup.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-side-key-backups>

use crate::routes::Routes;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
}
