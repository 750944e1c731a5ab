//! Sync: what is new for a device, from one view of the store.
//!
//! A request registers with the notifier, opens a view, and reads every stream between its token and the view's position;
//! it waits only when there was nothing. `next_batch` is the position of the view, never that of a hint.
//!
//! | for | read |
//! |---|---|
//! | how a request waits and is woken | `service.rs`, `notifier.rs`, `echo.rs` |
//! | how an answer is put together | `assembly.rs`, `joined.rs` |
//! | a stream | the file of its name: `timeline.rs`, `state.rs`, `members.rs`, `invites.rs`, `left.rs`, `account_data.rs`, `to_device.rs`, `device_lists.rs`, `receipts.rs`, `typing.rs`, `presence.rs`, `counts.rs`, `summary.rs` |
//! | what push rules count | `rules.rs`, `verdicts.rs`, `notifications.rs` |
//! | what clients write and read | `token.rs`, `filter.rs`, `fields.rs`, `response.rs`, `show.rs` |
//!
//! Nothing here writes, but for the removal of the messages that a device has acknowledged.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

mod account_data;
mod assembly;
mod counts;
mod device_lists;
mod echo;
mod error;
mod fields;
mod filter;
mod invites;
mod joined;
mod key_counts;
mod left;
mod members;
mod notifications;
mod notifier;
mod presence;
mod quiet;
mod receipts;
mod response;
mod rules;
mod service;
mod show;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;
mod to_device;
mod token;
mod typing;
mod verdicts;
mod window;

pub use error::Error;
pub use filter::passes_filter;
pub use notifications::{Notified, NotifiedPage};
pub use notifier::{Notifier, Waiter, Woken};
pub use response::{
    DeviceLists, Events, InvitedRoom, JoinedRoom, KnockedRoom, LeftRoom, Response, Rooms, State,
    StateForm, Summary, Timeline, Unread,
};
pub use service::{Request, Sync};
pub use show::ShownEvent;
pub use token::{NoToken, Token};
