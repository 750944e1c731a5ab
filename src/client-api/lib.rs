//! The endpoints that clients call: one file each, named as in Ruma, in folders named after the chapters of the
//! specification.
//!
//! Owns the step between HTTP and the domain: read the request, say who asks, call `rooms`, `users` and `sync`, write the
//! answer. `rooms` and `users` do not know each other; where a request concerns both, it is composed here. Must never decide
//! what a room or an account allows: that is the domain's, and its refusals become errcodes in `error.rs` alone.
//!
//! | file | what |
//! |---|---|
//! | `routes.rs` | the table of endpoints: which handler serves which request type |
//! | `extract.rs` | from bytes to a request of Ruma's, and who sent it |
//! | `error.rs` | every refusal, as a status and an errcode |
//! | `answer.rs` | from an answer to bytes |
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/>

use axum::Router;
use http::Method;

mod account_data;
mod accounts;
mod administration;
mod answer;
mod app;
mod backup;
mod devices;
mod discovery;
mod error;
mod extract;
mod faces;
mod filters;
mod guests;
mod invitees;
mod keys;
mod limits;
mod presence;
mod profile;
mod push_rules;
mod receipts;
mod relationships;
mod reporting;
mod room_creation;
mod room_directory;
mod room_events;
mod room_membership;
mod routes;
mod search;
mod show;
mod spaces;
mod standing;
mod succession;
mod summary;
mod sync_events;
mod third_parties;
mod third_party_ids;
mod to_device;
mod tokens;
mod typing;
mod user_directory;

pub use administration::tell_administrators;
pub use app::{App, Notices, Registration, Services, Settings, Support};
pub use limits::{RateLimit, Refusal};

use routes::Routes;

/// All endpoints, with the answers to unknown paths and methods, ready to be served.
pub fn router(app: App) -> Router {
    endpoints()
        .into_router()
        .fallback(error::unknown_endpoint)
        .method_not_allowed_fallback(error::unknown_method)
        .with_state(app)
}

/// Every endpoint that [`router`] serves: method and path, with `{…}` in place of each path parameter.
#[must_use]
pub fn route_table() -> Vec<(Method, String)> {
    endpoints().table().to_vec()
}

fn endpoints() -> Routes {
    Routes::new()
        .merge(accounts::routes())
        .merge(devices::routes())
        .merge(profile::routes())
        .merge(account_data::routes())
        .merge(filters::routes())
        .merge(push_rules::routes())
        .merge(keys::routes())
        .merge(backup::routes())
        .merge(to_device::routes())
        .merge(administration::routes())
        .merge(discovery::routes())
        .merge(presence::routes())
        .merge(receipts::routes())
        .merge(relationships::routes())
        .merge(reporting::routes())
        .merge(room_creation::routes())
        .merge(room_directory::routes())
        .merge(room_events::routes())
        .merge(room_membership::routes())
        .merge(search::routes())
        .merge(spaces::routes())
        .merge(standing::routes())
        .merge(sync_events::routes())
        .merge(third_parties::routes())
        .merge(third_party_ids::routes())
        .merge(typing::routes())
        .merge(user_directory::routes())
}

#[cfg(test)]
mod router_tests;
