//! What this server is and can do.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-discovery> and
//! <https://spec.matrix.org/latest/client-server-api/#capabilities-negotiation>

use http::Method;

use crate::routes::Routes;

mod discover_homeserver;
mod discover_policy_server;
mod discover_support;
mod get_capabilities;
mod get_supported_versions;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .raw(
            Method::GET,
            "/.well-known/matrix/client",
            discover_homeserver::discover_homeserver,
        )
        .raw(
            Method::GET,
            "/.well-known/matrix/support",
            discover_support::discover_support,
        )
        .open(discover_policy_server::discover_policy_server)
        .user(get_capabilities::get_capabilities)
        .open(get_supported_versions::get_supported_versions)
}
