//! Invites of people of whom an address is all that was known, once an identity server says whose the address is.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#third-party-invites>

use crate::routes::Routes;

mod bind_callback;
mod exchange_invite;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .open(bind_callback::bind_callback)
        .server(exchange_invite::exchange_invite)
}
