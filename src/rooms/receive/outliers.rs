//! Owns events of which only themselves are known: reading them from what a server sent, checking them by what vouches for
//! them, keeping them. Must never keep one that was not checked.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#auth-chain>

use std::collections::HashMap;

use hearth_protocol::{Pdu, RoomVersion, check_named, create_id};
use hearth_store::{Batch, CommitError, View};
use ruma::{OwnedEventId, RoomId};
use serde_json::value::RawValue;
use tokio::task::yield_now;

use super::order::in_order;
use crate::{
    Error, Rooms, StoredEvent,
    event::{EVENTS, EventRecord},
    queue::MAX_TRIES,
};

/// After how many events of a large state others get their turn.
const BETWEEN_PAUSES: usize = 32;

/// How many events of an answer are checked together: of so many servers at most the keys are asked for at once, which is fewer
/// than one check gets.
const READ_TOGETHER: usize = 512;

/// How many events are kept with one commit.
const TOGETHER: usize = 500;

impl Rooms {
    /// The events in what a server sent that are of the room and whose signatures and hashes hold, by id. What is wrong is
    /// left out.
    pub(crate) async fn read_events(
        &self,
        room_id: &RoomId,
        version: RoomVersion,
        sent: &[Box<RawValue>],
    ) -> Result<HashMap<OwnedEventId, Pdu>, Error> {
        let mut good = HashMap::with_capacity(sent.len());
        for some in sent.chunks(READ_TOGETHER) {
            good.extend(self.read_some(room_id, version, some).await?);
        }
        Ok(good)
    }

    async fn read_some(
        &self,
        room_id: &RoomId,
        version: RoomVersion,
        sent: &[Box<RawValue>],
    ) -> Result<HashMap<OwnedEventId, Pdu>, Error> {
        let mut parsed = HashMap::with_capacity(sent.len());
        for (index, json) in sent.iter().enumerate() {
            if index % BETWEEN_PAUSES == 0 {
                yield_now().await;
            }
            match Pdu::parse(json.get().as_bytes(), version) {
                Ok(pdu) if pdu.room_id() == room_id => {
                    parsed.insert(pdu.event_id().to_owned(), pdu);
                }
                Ok(pdu) => tracing::debug!(event = %pdu.event_id(), "an event of another room"),
                Err(error) => tracing::debug!(%error, "another server sent what is no event"),
            }
        }
        let checked = self
            .remote()?
            .verify(parsed.into_values().collect(), version)
            .await?;
        let good = checked.into_iter().filter_map(|checked| {
            checked
                .inspect_err(|error| tracing::debug!(%error, "an event is not signed"))
                .ok()
        });
        Ok(good.map(|pdu| (pdu.event_id().to_owned(), pdu)).collect())
    }

    /// The events in an order in which each comes after what vouches for it, marked as rejected where that does not allow
    /// them. Those whose auth events are neither among them nor known are left out: nobody can judge them.
    pub(crate) async fn judge_outliers(
        &self,
        view: &View,
        version: RoomVersion,
        events: HashMap<OwnedEventId, Pdu>,
    ) -> Result<Vec<Pdu>, Error> {
        let mut known: HashMap<OwnedEventId, Pdu> = HashMap::new();
        let mut judged = Vec::with_capacity(events.len());
        let mut ordered = in_order(events);
        // Where the room is named by its create event, no event names that, and all need it.
        ordered.sort_by_key(|pdu| !pdu.is("m.room.create", ""));
        for (index, pdu) in ordered.into_iter().enumerate() {
            if index % BETWEEN_PAUSES == 0 {
                yield_now().await;
            }
            let create = create_id(version, pdu.room_id());
            for id in pdu.auth_events().iter().chain(&create) {
                if !known.contains_key(id)
                    && let Some(event) = self.event(view, id).await?
                {
                    known.insert(id.clone(), event.pdu.clone());
                }
            }
            if pdu.auth_events().iter().any(|id| !known.contains_key(id)) {
                tracing::debug!(event = %pdu.event_id(), "what vouches for an event is missing");
                continue;
            }
            let denied = check_named(version, &pdu, &known);
            if let Err(denied) = &denied {
                tracing::debug!(event = %pdu.event_id(), reason = denied.reason, "rejected");
            }
            let pdu = pdu.marked_rejected(denied.is_err());
            known.insert(pdu.event_id().to_owned(), pdu.clone());
            judged.push(pdu);
        }
        Ok(judged)
    }

    /// Keeps events that were judged. Those that are known are passed over.
    pub(crate) async fn keep_outliers(
        &self,
        version: RoomVersion,
        events: &[Pdu],
    ) -> Result<(), Error> {
        for chunk in events.chunks(TOGETHER) {
            self.keep_some(version, chunk).await?;
        }
        Ok(())
    }

    async fn keep_some(&self, version: RoomVersion, events: &[Pdu]) -> Result<(), Error> {
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let mut batch = Batch::new();
            for pdu in events {
                if self.event(&view, pdu.event_id()).await?.is_some() {
                    continue;
                }
                let event = StoredEvent::outlier(pdu.clone(), version);
                let id = event.event_id().as_str();
                batch.assert_absent(&EVENTS, id);
                batch.put(&EVENTS, id, EventRecord::of(&event));
            }
            if batch.is_empty() {
                return Ok(());
            }
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }
}
