//! `PUT /_matrix/federation/v1/send/{txnId}`

use hearth_rooms::RemoteTransaction;
use ruma::{
    OwnedServerName,
    api::federation::transactions::send_transaction_message::v1::{Request, Response},
};

use super::messages;
use crate::{Error, Federation};

/// How many events and how many messages a transaction has at most.
const MAX_EVENTS: usize = 50;
const MAX_MESSAGES: usize = 100;

pub(super) async fn send_transaction_message(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    if request.pdus.len() > MAX_EVENTS || request.edus.len() > MAX_MESSAGES {
        return Err(Error::invalid_param("the transaction holds too much"));
    }
    if request.origin != origin {
        return Err(Error::forbidden("the transaction is one of another server"));
    }
    if !federation.rooms.may_hand_over(&origin).await {
        return Err(Error::limit_exceeded());
    }
    messages::take(&federation, &origin, &request.edus).await?;
    let transaction = RemoteTransaction {
        origin,
        id: request.transaction_id.to_string(),
        events: request.pdus,
    };
    Ok(Response::new(
        federation.rooms.take_over(transaction).await?,
    ))
}
