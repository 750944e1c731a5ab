//! What other servers send.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use crate::routes::Routes;

mod messages;
mod send_transaction_message;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().server(send_transaction_message::send_transaction_message)
}
