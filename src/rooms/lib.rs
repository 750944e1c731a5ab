//! Rooms: the only writer of room events.
//!
//! A room event is written once, with all indexes that lead to it, in one batch that asserts the room's head as it was
//! read: the lock of a room is that assertion, so any node writes any room. A queue per room merges what waits at the
//! same time. Reads take a [`hearth_store::View`], so that a request reads everything from one.
//!
//! | for | read |
//! |---|---|
//! | what an event, a head, a membership is in the store | `event.rs`, `head.rs`, `member.rs` |
//! | how a batch comes to be | `queue.rs`, `plan.rs`, `effects.rs`, and by topic `send.rs`, `change.rs`, `create.rs` |
//! | what comes from other servers | `receive/`, `remote.rs` |
//! | the state of a room | `state.rs`, `snapshot.rs` |
//! | who may see what | `visibility.rs` |
//! | what a node remembers, and forgets when another one changes it | `known_events.rs`, `known_rooms.rs`, `known_locals.rs` |
//! | the policy server of a room; this server as one | `policy.rs`, `policing.rs` |
//! | which rooms are used before their members are known | `partial.rs`, `receive/complete.rs`, `receive/replay.rs` |
//! | how a room goes | `purge.rs` |
//! | what is found by its words | `search.rs` |
//!
//! Must never import users: the edges compose them.

mod alias;
mod attention;
mod bundled;
mod change;
mod create;
mod directory;
mod effects;
mod error;
mod event;
mod forks;
mod head;
mod known_events;
mod known_locals;
mod known_rooms;
mod late_devices;
mod member;
mod membership;
mod near;
mod outgoing;
mod partial;
mod place;
mod plan;
mod policing;
mod policy;
mod purge;
mod queue;
mod receipt;
mod receive;
mod relation;
mod remote;
mod request;
mod search;
mod send;
mod servers;
mod service;
mod signal;
mod snapshot;
pub mod state;
mod summary;
mod tail;
#[cfg(test)]
mod tests;
mod timeline;
mod tracked;
mod transaction;
mod typing;
mod unread;
mod upgrade;
mod visibility;

pub use directory::PublicPage;
pub use error::{Error, Refusal};
pub use event::{StoredEvent, Transaction};
pub use head::Head;
pub use known_rooms::UserRooms;
pub use member::{Member, Membership};
pub use outgoing::{Outgoing, TOPIC_OUTGOING};
pub use place::{NoPlace, Place};
pub use policing::{Policy, Verdict};
pub use purge::PurgeStep;
pub use receipt::{Receipt, ReceiptThread};
pub use receive::{
    AddressInvite, Admitted, Alarm, Draft, Recomputed, RemoteInvite, RemoteTransaction, Standing,
    StateOf, Walk, heads_of,
};
pub use relation::{RelationFilter, RelationPage, Thread};
pub use remote::{Asked, JoinedState, Message, NoAnswer, Remote, StateIds, Template};
pub use request::{Act, InitialState, MemberChange, NewEvent, NewRoom, Preset, Profile};
pub use search::{Match, Question, Reach};
pub use service::{Memory, Rooms};
pub use signal::{DevicesToTell, Signals, WhyTell, signal_device_change};
pub use snapshot::StateChange;
pub use state::Root;
pub use summary::RoomSummary;
pub use timeline::{Context, MAX_PAGE, Page};
pub use tracked::Tracked;
pub use typing::TypingStamp;
pub use unread::{Counts, ReadMarks, Unread, thread_root};
pub use visibility::membership_of;
