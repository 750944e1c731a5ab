//! Owns taking over what other servers send: it is on disk before they are answered, and each transaction is taken once,
//! on whatever node it arrives. Must never drop what it said it took.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use std::collections::{BTreeMap, HashMap};

use hearth_base::Millis;
use hearth_protocol::{Pdu, RoomVersion};
use hearth_store::{
    Batch, CommitError, Direction, Family, Json, Part, Position, ReadPart, Reader, Table, View,
    Writer,
};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, ServerName,
    events::room::server_acl::RoomServerAclEventContent,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Head, Rooms, queue::MAX_TRIES};

/// (room, position) to an event that is to be worked off.
pub(crate) const STAGED: Table<(String, Position), Staged> = Table::new(133, "staged", Family::Log);

/// The events of [`STAGED`].
pub(crate) const STAGED_IDS: Table<String, ()> = Table::new(134, "staged_ids", Family::Records);

/// (server, transaction) to the answer that it got.
const TAKEN: Table<(String, String), Json<Answer>> =
    Table::new(135, "taken_transactions", Family::Records);

/// When each was taken: position to time, server and transaction.
const TAKEN_TIMES: Table<Position, (u64, String, String)> =
    Table::new(136, "taken_transaction_times", Family::Log);

/// How long a transaction is remembered.
const MEMORY: u64 = 24 * 60 * 60 * 1000;

/// How many old ones are forgotten with each that comes.
const FORGOTTEN: usize = 4;

/// The longest id of a transaction, in bytes.
const MAX_ID: usize = 255;

/// By event what became of it: nothing, or why it was not taken.
type Answer = BTreeMap<OwnedEventId, Option<String>>;

/// A transaction of another server, its sender proven.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who sent it.
    pub origin: OwnedServerName,
    /// Its id, unique among those of the sender.
    pub id: String,
    /// The events in it.
    pub events: Vec<Box<RawValue>>,
}

/// An event that is to be worked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    /// Who sent it.
    pub(crate) origin: String,
    /// Its id.
    pub(crate) event_id: String,
    /// The event, its signatures and hashes checked.
    pub(crate) json: String,
}

impl Part for Staged {
    fn write(&self, w: &mut Writer) {
        (&self.origin, &self.event_id, &self.json).write(w);
    }
}

impl ReadPart for Staged {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (origin, event_id, json) = ReadPart::read(r)?;
        Ok(Self {
            origin,
            event_id,
            json,
        })
    }
}

/// The events of a transaction, and what is wrong with those that are not taken.
#[derive(Default)]
struct Sorted {
    good: Vec<Pdu>,
    /// What was taken in already.
    done: Vec<OwnedEventId>,
    bad: Vec<(OwnedEventId, String)>,
}

impl Rooms {
    /// Takes over the events of a transaction; gives what is to be answered for each. A transaction that was taken before
    /// gets the same answer again.
    ///
    /// # Errors
    /// `Refused` (`InvalidParam`) for an id that is too long; `Busy`; those of the store.
    pub async fn take_over(
        &self,
        transaction: Transaction,
    ) -> Result<BTreeMap<OwnedEventId, Result<(), String>>, Error> {
        if transaction.id.len() > MAX_ID {
            let reason = "the id of the transaction is too long";
            return Err(Error::refused(crate::Refusal::InvalidParam, reason));
        }
        let key = (transaction.origin.as_str(), transaction.id.as_str());
        let view = self.0.store.view().await?;
        if let Some(Json(answer)) = view.get(&TAKEN, key).await? {
            return Ok(told(answer));
        }
        let sorted = self.sort(&view, &transaction).await?;
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            if let Some(Json(answer)) = view.get(&TAKEN, key).await? {
                return Ok(told(answer));
            }
            let answer: Answer = sorted
                .good
                .iter()
                .map(|pdu| (pdu.event_id().to_owned(), None))
                .chain(sorted.done.iter().map(|id| (id.clone(), None)))
                .chain(
                    sorted
                        .bad
                        .iter()
                        .cloned()
                        .map(|(id, reason)| (id, Some(reason))),
                )
                .collect();
            let (batch, staged) = self
                .plan_staging(&view, &transaction, &sorted, &answer)
                .await?;
            match self.0.store.commit(batch).await {
                Ok(_) => {
                    self.0.backlog.add(key.0, staged);
                    for pdu in &sorted.good {
                        self.work_off(pdu.room_id());
                    }
                    return Ok(told(answer));
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// What is to be written, and how many events are staged with it.
    async fn plan_staging(
        &self,
        view: &View,
        transaction: &Transaction,
        sorted: &Sorted,
        answer: &Answer,
    ) -> Result<(Batch, usize), Error> {
        let mut batch = Batch::new();
        let key = (transaction.origin.as_str(), transaction.id.as_str());
        let now = self.0.clock.now();
        batch.assert_absent(&TAKEN, key);
        batch.put(&TAKEN, key, Json(answer));
        let position = batch.position();
        batch.put(&TAKEN_TIMES, position, (now.0, key.0, key.1));
        forget(view, &mut batch, now).await?;
        let mut staged = 0;
        for pdu in &sorted.good {
            let planned = self.plan_stage(view, &mut batch, &transaction.origin, pdu);
            staged += usize::from(planned.await?);
        }
        Ok((batch, staged))
    }

    /// Puts an event on the list of those to be worked off, unless it is there or known; whether it did.
    pub(crate) async fn plan_stage(
        &self,
        view: &View,
        batch: &mut Batch,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<bool, Error> {
        let id = pdu.event_id();
        let is_known = self.event(view, id).await?.is_some_and(|e| !e.is_outlier());
        if is_known || view.get(&STAGED_IDS, id.as_str()).await?.is_some() {
            return Ok(false);
        }
        let staged = Staged {
            origin: origin.as_str().to_owned(),
            event_id: id.as_str().to_owned(),
            json: pdu.json().to_owned(),
        };
        let position = batch.position();
        batch.put(&STAGED, (pdu.room_id().as_str(), position), staged);
        batch.put(&STAGED_IDS, id.as_str(), ());
        Ok(true)
    }

    /// Reads and checks the events of a transaction: their form, the room, whether the sender may speak there, signatures
    /// and hashes.
    async fn sort(&self, view: &View, transaction: &Transaction) -> Result<Sorted, Error> {
        #[derive(Deserialize)]
        struct OfRoom {
            room_id: OwnedRoomId,
        }
        let mut sorted = Sorted::default();
        let mut heads: HashMap<OwnedRoomId, Option<Head>> = HashMap::new();
        let mut unchecked: BTreeMap<RoomVersion, Vec<Pdu>> = BTreeMap::new();
        for json in &transaction.events {
            let Ok(OfRoom { room_id }) = serde_json::from_str(json.get()) else {
                continue;
            };
            if !heads.contains_key(&room_id) {
                let head = self.head(view, &room_id).await?;
                heads.insert(room_id.clone(), head);
            }
            if !self
                .is_server_in_room(view, self.server_name(), &room_id)
                .await?
                && let Some(id) = self.take_back(view, &room_id, json).await?
            {
                sorted.done.push(id);
                continue;
            }
            // Of a room that is not known, not even the id of the event can be told.
            let Some(Some(head)) = heads.get(&room_id) else {
                continue;
            };
            let pdu = match Pdu::parse(json.get().as_bytes(), head.version) {
                Ok(pdu) => pdu,
                Err(error) => {
                    tracing::debug!(origin = %transaction.origin, %error, "dropped");
                    continue;
                }
            };
            match self.refusal(view, head, &transaction.origin, &pdu).await? {
                Some(reason) => sorted.bad.push((pdu.event_id().to_owned(), reason)),
                None => unchecked.entry(head.version).or_default().push(pdu),
            }
        }
        for (version, events) in unchecked {
            let ids: Vec<_> = events.iter().map(|pdu| pdu.event_id().to_owned()).collect();
            let checked = self.remote()?.verify(events, version).await?;
            for (id, checked) in ids.into_iter().zip(checked) {
                match checked {
                    Ok(pdu) => sorted.good.push(pdu),
                    Err(error) => sorted.bad.push((id, error.to_string())),
                }
            }
        }
        Ok(sorted)
    }

    /// Why an event of a known room is not even looked at.
    pub(super) async fn refusal(
        &self,
        view: &View,
        head: &Head,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<Option<String>, Error> {
        let own = self.server_name().to_owned();
        if !self.is_server_in_room(view, &own, pdu.room_id()).await? {
            return Ok(Some("this server is not in the room".to_owned()));
        }
        if !self.may_take_part(view, head, origin).await? {
            return Ok(Some(
                "the room does not let your server take part".to_owned(),
            ));
        }
        Ok(None)
    }

    /// Whether the access list of the room lets the server take part.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn may_take_part(
        &self,
        view: &View,
        head: &Head,
        server: &ServerName,
    ) -> Result<bool, Error> {
        let list = self
            .state_event(view, head, head.state, "m.room.server_acl", "")
            .await?;
        let Some(list) = list else {
            return Ok(true);
        };
        // A list that cannot be read is none.
        Ok(
            serde_json::from_str::<RoomServerAclEventContent>(list.pdu.content().get())
                .map_or(true, |list| list.is_allowed(server)),
        )
    }
}

fn told(answer: Answer) -> BTreeMap<OwnedEventId, Result<(), String>> {
    answer
        .into_iter()
        .map(|(id, refused)| (id, refused.map_or(Ok(()), Err)))
        .collect()
}

/// Forgets a few transactions that are too old to come again.
async fn forget(view: &View, batch: &mut Batch, now: Millis) -> Result<(), Error> {
    let oldest = view
        .scan(
            &TAKEN_TIMES,
            Position::ZERO..Position::MAX,
            Direction::Forward,
            FORGOTTEN,
        )
        .await?;
    for (position, (time, server, id)) in oldest {
        if time.saturating_add(MEMORY) < now.0 {
            batch.delete(&TAKEN, (server.as_str(), id.as_str()));
            batch.delete(&TAKEN_TIMES, position);
        }
    }
    Ok(())
}
