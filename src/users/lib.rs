//! Everything of a user that is not a room: account, sessions, devices, profile, account data, filters, push rules, keys,
//! messages to devices.
//!
//! Functions that read take a [`hearth_store::View`], so that a request reads everything from one. Functions named
//! `plan_…` fill a [`hearth_store::Batch`] for whoever has more to write in the same commit; the others commit themselves.
//! Rooms are unknown here: where a change concerns rooms, the edge composes both.
//!
//! | file | what |
//! |---|---|
//! | `account.rs` | registration, passwords, deactivation |
//! | `standing.rs` | accounts that are locked or suspended |
//! | `session.rs` | login, access and refresh tokens, logout |
//! | `authentication.rs` | from an access token to a session, cached |
//! | `interactive.rs` | user-interactive authentication |
//! | `device.rs` | the list of devices |
//! | `profile.rs` | display name, avatar and other public fields |
//! | `presence.rs` | who is online, beside the store |
//! | `account_data.rs` | what clients keep for themselves; tags; the log for `/sync` |
//! | `keys.rs`, `backup.rs`, `to_device.rs` | end-to-end encryption |
//! | `notice.rs` | the room in which a user gets notices of the server |
//! | `push_rules.rs` | push rules, a part of account data that the server understands |
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/>

mod account;
mod account_data;
mod authentication;
mod backup;
mod device;
mod ephemeral;
mod errors;
mod filter;
mod interactive;
mod invite_permission;
mod keys;
mod notice;
mod password;
mod presence;
mod profile;
mod push_rules;
mod pusher;
mod registration_token;
mod service;
mod session;
mod standing;
mod to_device;

pub use account::{Account, HashedPassword, NewAccount};
pub use account_data::AccountDatum;
pub use authentication::Session;
pub use backup::{Backup, BackupKey, BackupKeys, BackupPart, BackupSize};
pub use device::Device;
pub use errors::{Error, Refusal};
pub use interactive::{Answer, Challenge, Outcome, Stage};
pub use keys::{ClaimedKeys, SignatureFault, SignatureOutcome, WantedKeys};
pub use presence::{Availability, Presence, PresenceStamp};
pub use profile::Profile;
pub use push_rules::{CONTAINS_USER_NAME, predefined_push_rules, read_push_rules};
pub use pusher::PusherRecord;
pub use registration_token::RegistrationToken;
pub use service::{Limits, Users};
pub use session::{Login, NewDevice};
pub use to_device::ToDeviceMessages;
