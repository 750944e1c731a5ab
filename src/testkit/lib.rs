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
//! | how the code reads, as a test | `tidy.rs` |
//! | the life of a server: start, stop, reload, commands | `life.rs` |
//! | versions of two forms on one store | `upgrade.rs` |
//! | whole conversations of unmodified client libraries | `flows/` |

mod cluster;
mod network;
mod recording;
mod server;

pub use cluster::NODES;
pub use network::Network;
pub use recording::Recording;
pub use server::{Failure, Faults, Server};
