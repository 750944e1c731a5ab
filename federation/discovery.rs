//! Who this server is: its keys, the keys of others that it vouches for, its version, where it is.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#server-discovery>

use crate::routes::Routes;

mod discover_homeserver;
mod get_remote_server_keys;
mod get_remote_server_keys_batch;
mod get_server_keys;
mod get_server_version;
mod notary;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .open(discover_homeserver::discover_homeserver)
        .open(get_remote_server_keys::get_remote_server_keys)
        .open(get_remote_server_keys_batch::get_remote_server_keys_batch)
        .open(get_server_keys::get_server_keys)
        .open(get_server_version::get_server_version)
}
