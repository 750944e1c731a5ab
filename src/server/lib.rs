//! The binary `hearth`: reads the configuration, wires the crates together, listens, and shuts down. Also its command line.
//!
//! Owns processes, sockets and files that are not the store's. Must never decide anything about Matrix.
//!
//! | file | what |
//! |---|---|
//! | `command_line.rs` | `hearth serve`, `check-config`, `user`, `room`, `cluster`, `backup`, `restore`, `migrate`, `version` |
//! | `node.rs` | a store, the services over it and the endpoints: a server without sockets |
//! | `storage.rs` | which engine and which hints there are |
//! | `transfer.rs` | a store brought to another place: `restore`, `migrate` |
//! | `identity.rs` | the signing key, and the name a store belongs to |
//! | `serve.rs` | the life of a running server: start, signals, stop |
//! | `listen.rs` | sockets and connections |
//! | `tls.rs` | certificates |
//! | `front.rs` | what surrounds every endpoint: CORS, compression, panics, metrics |
//! | `health.rs` | whether requests should be sent here |
//! | `pace.rs` | the rate limit |
//! | `cluster.rs` | this node among others: coming, going, and work that one does for all |
//! | `completion.rs` | rooms that were joined without their members, in the background |
//! | `removal.rs` | the removal of forgotten rooms, in the background |
//! | `alarms.rs` | telling the administrators that the state of a room went back |
//! | `healing.rs` | comparing the heads of rooms with other servers, in the background |
//! | `telemetry.rs` | metrics |
//! | `memory.rs` | how the process gives memory back, and how many files it may open |
//! | `control.rs` | the socket over which the command line talks to a running server |
//! | `upgrade.rs` | the form of the records, and which versions can run together |
//! | `errors.rs` | why a command cannot be done |

mod alarms;
mod cluster;
pub mod command_line;
mod completion;
mod control;
mod errors;
mod front;
mod healing;
mod health;
mod identity;
mod listen;
mod memory;
mod node;
mod pace;
mod removal;
mod serve;
mod storage;
mod telemetry;
mod tls;
mod transfer;
mod upgrade;

pub use errors::Error;
pub use node::{Node, Outside};
pub use serve::{Running, start};
pub use upgrade::Schema;
