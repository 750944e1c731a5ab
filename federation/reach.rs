//! Reaching other servers: finding them, proving who asks, knowing their keys, and leaving those alone that do not answer.
//!
//! | file | what |
//! |---|---|
//! | `peers.rs` | what all of it shares |
//! | `call.rs` | a call, from a request of Ruma's to its answer |
//! | `discovery.rs`, `well_known.rs`, `names.rs` | where a server is |
//! | `addresses.rs`, `policy.rs` | what the operator does not allow |
//! | `web.rs` | connections and TLS |
//! | `destinations.rs` | servers that did not answer |
//! | `signing.rs`, `x_matrix.rs`, `authentication.rs` | the signature of requests, made and checked |
//! | `keyring.rs` | the keys of servers |
//! | `verify.rs` | the signatures of events |

mod addresses;
mod authentication;
mod call;
mod destinations;
mod discovery;
mod keyring;
mod names;
mod peers;
mod policy;
mod signing;
mod verify;
mod web;
mod well_known;
mod x_matrix;

pub use call::{CallError, Manner};
pub use destinations::Urgency;
pub use discovery::Destination;
pub(crate) use keyring::own_list;
pub use keyring::{KeyList, Wanted};
pub use names::{Names, NoName, Service, SystemNames};
pub use peers::{Peers, Settings};
pub use policy::DenyList;
pub use signing::Signed;
pub use web::NoWeb;
pub use x_matrix::XMatrix;

/// Single decisions about what other servers say, without anything around them. They are public so that `fuzz` of the testkit
/// can hand made-up input to each alone; a server calls [`Peers`].
pub mod decisions {
    pub use super::{
        addresses::is_public,
        discovery::{fixed, ordered},
        keyring::own_list,
        web::may_reach,
        well_known::{delegation, lifetime},
    };
}
