//! The whole router in this process, over a store in a temporary folder: what every endpoint refuses, and with which
//! errcode.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod administration;
mod belonging;
mod conversation;
mod encryption;
mod generated;
mod inviting;
mod notifying;
mod preferences;
mod presence;
mod refusals;
mod searching;
mod server;
mod visiting;
