//! Owns the memory of requests that clients repeat: a transaction means one event, however often it arrives.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#transaction-identifiers>

use hearth_store::{Family, Table, View};
use ruma::{OwnedEventId, RoomId};

use crate::{Error, Rooms, Transaction, timeline::parse_id};

/// (user, device, room, transaction) to event id: in another room the same id means another event.
pub(crate) const TRANSACTIONS: Table<(String, String, String, String), String> =
    Table::new(95, "transactions", Family::Records);

impl Rooms {
    /// The event that this transaction made in the room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn transaction(
        &self,
        view: &View,
        room_id: &RoomId,
        transaction: &Transaction,
    ) -> Result<Option<OwnedEventId>, Error> {
        let key = (
            transaction.user.as_str(),
            transaction.device.as_str(),
            room_id.as_str(),
            transaction.id.as_str(),
        );
        view.get(&TRANSACTIONS, key)
            .await?
            .map(parse_id)
            .transpose()
    }
}
