//! Whole servers in the process of a test: a store in a folder of its own, sockets on free loopback ports, and a client.
//!
//! Owns what tests over everything share. Must never be used by anything but tests, nor reach further than loopback.
//!
//! | for | read |
//! |---|---|
//! | a server for a test | [`Server`] |
//! | three nodes behind HAProxy in its place | `cluster.rs`, and `cluster.sh` for other programs |
//! | several that find each other by name | [`Network`] |
//! | every answer judged by the specification | [`Recording`], `conformance/`, `conformance.rs` |
//! | processes that end with their folder; a PostgreSQL; a server to speak with | [`Folder`], [`Template`], [`Far`] |
//! | how the code reads, as a test | `tidy.rs` |
//! | the life of a server: start, stop, reload, commands | `life.rs` |
//! | versions of two forms on one store | `upgrade.rs` |
//! | everything that can happen to a cluster | `faults/` |
//! | a store that moves to another engine and back | `migrate/` |
//! | whole conversations of unmodified client libraries | `flows/` |

mod cluster;
mod far;
mod folder;
mod network;
mod postgres;
mod recording;
mod server;

pub use cluster::NODES;
pub use far::{Far, Trust};
pub use folder::{Folder, Process, free_port};
pub use network::Network;
pub use postgres::{Database, Template};
pub use recording::Recording;
pub use server::{Failure, Faults, Server};
