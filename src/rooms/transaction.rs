//! Owns the memory of requests that clients repeat: a transaction means one event, however often it arrives.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#transaction-identifiers>

use hearth_store::{Family, Table, View};
use ruma::{EventId, OwnedEventId, RoomId};

use crate::{Error, Rooms, Transaction, timeline::parse_id};

/// (user, device, room, the rest of the path, transaction) to event id: on another path the same id means another event.
pub(crate) const TRANSACTIONS: Table<(String, String, String, String, String), String> =
    Table::new(95, "transactions", Family::Records);

/// The part of the path of a request to send or to redact that stands between room and transaction.
pub(crate) fn path_of(event_type: &str, redacts: Option<&EventId>) -> String {
    match redacts {
        Some(target) => format!("redact/{target}"),
        None => format!("send/{event_type}"),
    }
}

impl Transaction {
    /// Its key in [`TRANSACTIONS`].
    pub(crate) fn key<'a>(
        &'a self,
        room_id: &'a str,
        path: &'a str,
    ) -> (&'a str, &'a str, &'a str, &'a str, &'a str) {
        let (user, device) = (self.user.as_str(), self.device.as_str());
        (user, device, room_id, path, &self.id)
    }
}

impl Rooms {
    /// The event that this transaction made in the room, on the path of [`path_of`].
    pub(crate) async fn transaction(
        &self,
        view: &View,
        room_id: &RoomId,
        path: &str,
        transaction: &Transaction,
    ) -> Result<Option<OwnedEventId>, Error> {
        view.get(&TRANSACTIONS, transaction.key(room_id.as_str(), path))
            .await?
            .map(parse_id)
            .transpose()
    }
}
