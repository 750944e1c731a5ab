//! What every crate of Hearth stands on: the clock and randomness that are handed in as arguments, and,
//! for the edges, configuration, tracing and limits.
//!
//! Nothing here knows what a room or a user is.

mod clock;
pub mod config;
pub mod log;
mod random;

pub use clock::{Clock, ManualClock, Millis, SystemClock};
pub use random::{Rng, SeededRng, SystemRng};
