//! What the worker under leases writes and the judge reads.

use hearth_store::{Family, Position, Table};

/// How many leases there are to work under.
pub(crate) const LEASES: usize = 4;

/// What a worker says of itself.
pub(crate) const TALLY: &str = "tally";

/// The name of a lease.
pub(crate) fn lease(number: usize) -> String {
    format!("tally {number}")
}

/// By lease how many pieces of work are done.
pub(crate) const DONE: Table<String, u64> = Table::new(250, "tally done", Family::Records);

/// How often a piece of a lease's work had effect.
pub(crate) const EFFECTS: Table<(String, u64), i64> =
    Table::new(251, "tally effects", Family::Records);

/// What was done in which order: lease, epoch, and when, in milliseconds since the epoch.
pub(crate) const WORK: Table<Position, (String, u64, u64)> =
    Table::new(252, "tally work", Family::Log);
