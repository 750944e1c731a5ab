//! What administrators may ask.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-administration>

use crate::routes::Routes;

mod get_user_info;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(get_user_info::get_user_info)
}
