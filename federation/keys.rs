//! The keys of users of this server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#end-to-end-encryption>

use crate::routes::Routes;

mod claim_keys;
mod get_keys;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .server(claim_keys::claim_keys)
        .server(get_keys::get_keys)
}
