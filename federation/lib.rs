//! Other servers: reaching them, answering them, sending to them.
//!
//! Owns the step between servers and the domain, in both directions. Must never decide what a room allows: events that come
//! in go to `rooms`, which checks them.
//!
//! | folder | what |
//! |---|---|
//! | `reach/` | finding servers, calling them, their keys, who sends a request |
//! | `outbound/` | sending to servers |
//! | those of the chapters of the specification | one endpoint, one file, named as in Ruma |
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/>

use std::sync::Arc;

use axum::Router;
use http::{Method, StatusCode};

mod authorization;
mod backfill;
mod device;
mod directory;
mod discovery;
mod error;
mod event;
mod keys;
mod membership;
mod openid;
mod origins;
pub mod outbound;
mod policy;
mod query;
pub mod reach;
mod remote;
mod routes;
mod space;
mod thirdparty;
mod transactions;

use error::Error;
use hearth_base::Clock;
use hearth_protocol::SigningKey;
use hearth_rooms::Rooms;
use hearth_store::Store;
use hearth_users::Users;
use origins::Origins;
use reach::Peers;
use routes::Routes;
use ruma::{MilliSecondsSinceUnixEpoch, UInt};

/// What the endpoints call.
pub struct Services {
    /// The way to other servers.
    pub peers: Peers,
    /// For views.
    pub store: Store,
    /// The rooms.
    pub rooms: Rooms,
    /// The accounts.
    pub users: Users,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This server's key.
    pub key: Arc<SigningKey>,
    /// Where other servers reach this one, announced in `.well-known`; nothing: not announced.
    pub announced: Option<String>,
}

/// The endpoints for other servers. Cheap to clone.
#[derive(Clone)]
pub struct Federation(Arc<Services>, Origins);

impl std::ops::Deref for Federation {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl Federation {
    /// The endpoints' share of a server.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self(Arc::new(services), Origins::default())
    }

    /// Who has their requests answered.
    pub(crate) fn origins(&self) -> &Origins {
        &self.1
    }

    /// Now, as events and answers carry it.
    pub(crate) fn timestamp(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.clock.now().0))
    }
}

/// All endpoints, ready to be served beside those of clients: it has no fallback of its own.
pub fn router(federation: Federation) -> Router {
    endpoints()
        .into_router()
        .method_not_allowed_fallback(unknown_method)
        .with_state(federation)
}

/// Every endpoint that [`router`] serves: method and path, with `{…}` in place of each path parameter.
#[must_use]
pub fn route_table() -> Vec<(Method, String)> {
    endpoints().table().to_vec()
}

fn endpoints() -> Routes {
    Routes::new()
        .merge(discovery::routes())
        .merge(query::routes())
        .merge(membership::routes())
        .merge(thirdparty::routes())
        .merge(policy::routes())
        .merge(event::routes())
        .merge(authorization::routes())
        .merge(backfill::routes())
        .merge(transactions::routes())
        .merge(device::routes())
        .merge(keys::routes())
        .merge(directory::routes())
        .merge(openid::routes())
        .merge(space::routes())
}

/// Answers a method that is not served at its path.
async fn unknown_method() -> Error {
    Error::unrecognized(StatusCode::METHOD_NOT_ALLOWED)
}
