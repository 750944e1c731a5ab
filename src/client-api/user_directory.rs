//! Finding other users.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#user-directory>

use crate::routes::Routes;

mod search_users;

/// The endpoint of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(search_users::search_users)
}
