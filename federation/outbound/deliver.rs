//! Owns the way from a queue to its server: one task a server, while there is something and the server answers. Must never
//! send two transactions to a server at once.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#put_matrixfederationv1sendtxnid>

use hearth_protocol::federation_json;
use hearth_store::{Batch, CommitError};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedServerName, OwnedTransactionId, ServerName, UInt,
    api::federation::transactions::{edu::Edu, send_transaction_message},
    serde::Raw,
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    Outbound,
    queue::{self, Item, Load},
};
use crate::reach::{CallError, Manner};

/// How many events and messages a transaction has at most.
const MAX_EVENTS: usize = 50;
const MAX_MESSAGES: usize = 100;

/// A transaction on its way.
struct Parcel {
    events: Vec<Box<RawValue>>,
    messages: Vec<Raw<Edu>>,
}

impl Outbound {
    /// Has a task work for the server, if none does and it is this node's business.
    pub(super) fn serve(&self, server: &ServerName) {
        if self.0.shares.lease(server).is_none() {
            return;
        }
        let mut working = self.0.working.lock();
        if let Some(again) = working.get_mut(server) {
            *again = true;
            return;
        }
        working.insert(server.to_owned(), false);
        drop(working);
        tokio::spawn(work(self.clone(), server.to_owned()));
    }

    /// Has tasks work for all servers for which something waits and that are not left alone.
    pub(super) async fn serve_waiting(&self) -> Result<(), hearth_store::Error> {
        let view = self.0.store.view().await?;
        let mut waiting = queue::servers(&view).await?;
        waiting.extend(self.0.peers.ephemeral().servers());
        for server in waiting {
            if self.0.shares.lease(&server).is_some()
                && self.0.peers.left_alone_until(&server).await <= self.now()
            {
                self.serve(&server);
            }
        }
        Ok(())
    }

    /// Sends the next transaction; whether there was one.
    async fn send_next(&self, server: &ServerName) -> Result<bool, Undone> {
        let Some(lease) = self.0.shares.lease(server) else {
            return Err(Undone("it is another node's business now".to_owned()));
        };
        let view = self.0.store.view().await?;
        let load = queue::next(&view, server, (MAX_EVENTS, MAX_MESSAGES)).await?;
        let mut parcel = self.pack(&view, &load).await?;
        let free = MAX_MESSAGES - parcel.messages.len();
        let passing = self.0.peers.ephemeral().take(server, free);
        parcel
            .messages
            .extend(passing.into_iter().map(Raw::from_json));
        let is_empty = parcel.events.is_empty() && parcel.messages.is_empty();
        if !is_empty {
            self.send(server, parcel).await?;
        }
        if load.items.is_empty() && load.behind.is_empty() {
            return Ok(!is_empty);
        }
        let mut batch = Batch::new();
        lease.assert(&mut batch);
        queue::plan_done(&mut batch, server, &load);
        match self.0.store.commit(batch).await {
            Ok(_) | Err(CommitError::Conflict) => Ok(true),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }

    async fn pack(&self, view: &hearth_store::View, load: &Load) -> Result<Parcel, Undone> {
        let mut parcel = Parcel {
            events: Vec::new(),
            messages: Vec::new(),
        };
        let waiting = load.items.iter().map(|(_, item)| item);
        let behind: Vec<_> = load
            .behind
            .iter()
            .map(|(_, id)| Item::Event(id.clone()))
            .collect();
        for item in behind.iter().chain(waiting) {
            match item {
                Item::Event(id) => {
                    let Ok(id) = EventId::parse(id) else { continue };
                    if let Some(event) = self.0.rooms.event(view, &id).await? {
                        parcel.events.push(federation_json(&event.pdu));
                    }
                }
                Item::Message(json) => {
                    if let Ok(raw) = RawValue::from_string(json.clone()) {
                        parcel.messages.push(Raw::from_json(raw));
                    }
                }
            }
        }
        Ok(parcel)
    }

    async fn send(&self, server: &ServerName, parcel: Parcel) -> Result<(), Undone> {
        let now = MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.now().0));
        let own = self.0.rooms.server_name().to_owned();
        let id = transaction_id(&parcel);
        let mut request = send_transaction_message::v1::Request::new(id, own, now);
        request.pdus = parcel.events;
        request.edus = parcel.messages;
        metrics::counter!("hearth_federation_transactions_sent_total").increment(1);
        match self.0.peers.call(server, request, Manner::BACKGROUND).await {
            Ok(answer) => {
                for (id, refused) in answer.pdus {
                    if let Err(reason) = refused {
                        tracing::debug!(%server, event = %id, reason, "an event was not taken");
                    }
                }
                Ok(())
            }
            // What the server says of a transaction that it got does not change by sending it again, except that it may
            // be overloaded, or not know us yet.
            Err(CallError::Refused {
                status, message, ..
            }) if (400..500).contains(&status) && !matches!(status, 401 | 404 | 408 | 429) => {
                tracing::info!(%server, status, message, "a transaction was refused");
                Ok(())
            }
            Err(CallError::WrongAnswer(reason)) => {
                tracing::info!(%server, reason, "a transaction was answered wrongly");
                Ok(())
            }
            Err(error) => Err(Undone(error.to_string())),
        }
    }

    /// Whether the task of the server is to look again; if not, it is over.
    fn looks_again(&self, server: &ServerName) -> bool {
        let mut working = self.0.working.lock();
        match working.get_mut(server) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                working.remove(server);
                false
            }
        }
    }
}

/// Why a transaction was not sent.
struct Undone(String);

impl From<hearth_store::Error> for Undone {
    fn from(error: hearth_store::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<hearth_rooms::Error> for Undone {
    fn from(error: hearth_rooms::Error) -> Self {
        Self(error.to_string())
    }
}

/// Gives the server up when its task ends, however it ends.
struct Shift {
    outbound: Outbound,
    server: OwnedServerName,
    is_over: bool,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if !self.is_over {
            self.outbound.0.working.lock().remove(&self.server);
        }
    }
}

async fn work(outbound: Outbound, server: OwnedServerName) {
    let mut shift = Shift {
        outbound: outbound.clone(),
        server: server.clone(),
        is_over: false,
    };
    loop {
        let sending = outbound.send_next(&server);
        match outbound.0.slots.take_turn(sending).await {
            Ok(true) => {}
            Ok(false) if outbound.looks_again(&server) => {}
            Ok(false) => {
                shift.is_over = true;
                return;
            }
            Err(Undone(reason)) => {
                tracing::debug!(%server, reason, "nothing is sent to a server for a while");
                if let Err(error) = outbound.trim(&server).await {
                    tracing::warn!(%server, %error, "a long queue is not shortened");
                }
                return;
            }
        }
    }
}

/// An id that is the same for the same transaction, so that one whose answer was lost is taken once, and another one for
/// another, even after a restore of an older state.
fn transaction_id(parcel: &Parcel) -> OwnedTransactionId {
    let mut hash = Sha256::new();
    for part in parcel.events.iter().map(|event| event.get()) {
        hash.update(part);
    }
    for part in parcel.messages.iter().map(|message| message.json().get()) {
        hash.update(part);
    }
    let hash = hash.finalize();
    let hex: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.into()
}
