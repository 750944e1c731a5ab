//! Owns the memory of requests that clients repeat: a transaction means one event, however often it arrives.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#transaction-identifiers>

use hearth_store::{Family, Table, View};
use ruma::OwnedEventId;

use crate::{Error, Rooms, Transaction, timeline::parse_id};

/// (user, device, transaction) to event id.
pub(crate) const TRANSACTIONS: Table<(String, String, String), String> =
    Table::new(95, "transactions", Family::Records);

impl Rooms {
    /// The event that this transaction made.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn transaction(
        &self,
        view: &View,
        transaction: &Transaction,
    ) -> Result<Option<OwnedEventId>, Error> {
        let key = (
            transaction.user.as_str(),
            transaction.device.as_str(),
            transaction.id.as_str(),
        );
        view.get(&TRANSACTIONS, key)
            .await?
            .map(parse_id)
            .transpose()
    }
}
