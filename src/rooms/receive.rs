//! Events of other servers: how they come in, in which order they are checked, what becomes of them. Functions ask other
//! servers through [`crate::Remote`] alone. Must never make an event visible that was not checked.
//!
//! | file | what |
//! |---|---|
//! | `order.rs` | the orders in which events are looked at |
//! | `states.rs` | the state before and after an event |
//! | `judge.rs` | what the rules say about an event |
//! | `accept.rs` | the plan of an event that came in: its mark, the heads |
//! | `alarm.rs` | noticing that the state of a room went back |
//! | `resolve.rs` | the state where branches meet |
//! | `agreed.rs` | what vouches for entries on which branches agree |
//! | `difference.rs` | what vouches for some branches and not for all |
//! | `stage.rs` | what was taken over from other servers and is not yet worked off |
//! | `backlog.rs` | how much of that there may be |
//! | `work.rs` | working that off, room by room |
//! | `backfill.rs` | history, when somebody reads back to where it is not known |
//! | `history.rs` | events of before, and gaps among them |
//! | `missing.rs` | what has to be fetched first |
//! | `complete.rs` | fetching the state of a room that was joined without its members |
//! | `replay.rs` | receiving again what came before that was known |
//! | `join.rs`, `leave.rs`, `invite.rs` | our users in rooms of other servers |
//! | `address.rs` | invites of those of whom an address was known |
//! | `rescind.rs` | invites that are taken back |
//! | `resident.rs` | users of other servers in rooms of ours |
//! | `heal.rs` | finding out that events were lost on their way here |
//! | `recompute.rs` | computing a room again, to find what is wrong with it |
//! | `serve.rs` | what other servers may read of a room |
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

mod accept;
mod address;
mod agreed;
mod alarm;
mod backfill;
mod backlog;
mod complete;
mod difference;
mod heal;
mod history;
mod invite;
mod join;
mod judge;
mod leave;
mod missing;
mod order;
mod outliers;
mod recompute;
mod replay;
mod rescind;
mod resident;
mod resolve;
mod serve;
mod stage;
mod states;
mod work;

pub(crate) use accept::{REDACTIONS_AHEAD, Received};
pub use address::AddressInvite;
pub(crate) use agreed::KnownVouchers;
pub use alarm::Alarm;
pub(crate) use backlog::Backlog;
pub use heal::{Walk, heads_of};
pub(crate) use history::GAPS;
pub use invite::RemoteInvite;
pub(crate) use invite::SHOWN_OUTSIDE;
pub(crate) use recompute::ASIDE;
pub use recompute::Recomputed;
pub(crate) use replay::Piece;
pub use resident::{Admitted, Draft};
#[cfg(test)]
pub(crate) use resolve::Resolution;
pub use serve::StateOf;
pub use stage::Transaction as RemoteTransaction;
pub(crate) use stage::{STAGED, STAGED_IDS};
pub(crate) use states::Given;
pub use work::Standing;
pub(crate) use work::Workers;
