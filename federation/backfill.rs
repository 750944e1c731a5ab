//! History of rooms.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events>

use crate::routes::Routes;

mod get_backfill;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(get_backfill::get_backfill)
}
