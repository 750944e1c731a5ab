//! Who is there.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#presence>

use crate::routes::Routes;

mod get_presence;
mod set_presence;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_presence::get_presence)
        .user(set_presence::set_presence)
}
