//! Owns receipts: how far each user has read, in public, in private and by thread. Must never show a private one to
//! anybody but its user; the caller asks [`Receipt::is_private`].
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receipts>

use hearth_store::{
    Batch, CommitError, Direction, Family, Part, Position, ReadPart, Reader, Table, Topic, View,
    Writer,
};
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, RoomId, UInt, UserId};

use crate::{
    Error, Message, Refusal, Rooms,
    membership::parse_user,
    queue::MAX_TRIES,
    relation::relation_of,
    signal::{SIGNALLED, SIGNALS, Signal},
    timeline::parse_id,
};

/// (room, user, kind and thread) to receipt.
pub(crate) const RECEIPTS: Table<(String, String, String), ReceiptRecord> =
    Table::new(103, "receipts", Family::Index);

/// How many receipts a room shows to one who comes new to it.
const MAX_SHOWN: usize = 1000;

/// Which part of a room a receipt is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReceiptThread {
    /// All of it.
    Unthreaded,
    /// What is in no thread.
    Main,
    /// The thread with this root.
    Thread(OwnedEventId),
}

impl ReceiptThread {
    /// The word in a receipt: nothing, `main`, or the root.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Unthreaded => None,
            Self::Main => Some("main"),
            Self::Thread(root) => Some(root.as_str()),
        }
    }
}

/// How far a user has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who.
    pub user: OwnedUserId,
    /// Up to which event.
    pub event_id: OwnedEventId,
    /// Whether nobody else may know (`m.read.private`).
    pub is_private: bool,
    /// In which part of the room.
    pub thread: ReceiptThread,
    /// When.
    pub time: MilliSecondsSinceUnixEpoch,
    /// The position of the event.
    pub read: Position,
    /// The position of the receipt itself in the log.
    pub position: Position,
    /// How many events of the room default push rules counted up to the event.
    pub counted: u64,
}

/// The stored form of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptRecord {
    event_id: String,
    time: u64,
    read: Position,
    position: Position,
    counted: u64,
}

impl Part for ReceiptRecord {
    fn write(&self, w: &mut Writer) {
        (
            &self.event_id,
            self.time,
            self.read,
            self.position,
            self.counted,
        )
            .write(w);
    }
}

impl ReadPart for ReceiptRecord {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (event_id, time, read, position, counted) = ReadPart::read(r)?;
        Ok(Self {
            event_id,
            time,
            read,
            position,
            counted,
        })
    }
}

/// The part of a receipt's key that tells its kind and thread.
fn receipt_key(is_private: bool, thread: &ReceiptThread) -> String {
    let kind = if is_private { 'p' } else { 'r' };
    format!("{kind}{}", thread.as_str().unwrap_or_default())
}

impl Receipt {
    pub(crate) fn read_as(user: &str, key: &str, record: ReceiptRecord) -> Result<Self, Error> {
        let (kind, thread) = key.split_at_checked(1).unwrap_or(("r", ""));
        Ok(Self {
            user: parse_user(user.to_owned())?,
            event_id: parse_id(record.event_id)?,
            is_private: kind == "p",
            thread: match thread {
                "" => ReceiptThread::Unthreaded,
                "main" => ReceiptThread::Main,
                root => ReceiptThread::Thread(parse_id(root.to_owned())?),
            },
            time: MilliSecondsSinceUnixEpoch(UInt::new_saturating(record.time)),
            read: record.read,
            position: record.position,
            counted: record.counted,
        })
    }
}

impl Rooms {
    /// Moves a receipt of `user` forward to the event; backward it does not move, which is no error.
    ///
    /// # Errors
    /// `Forbidden` when the user is not in the room, `NotFound` for an unknown event, `Refused` when the event is not in
    /// the thread.
    pub async fn receipt(
        &self,
        user: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        is_private: bool,
        thread: ReceiptThread,
    ) -> Result<(), Error> {
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let planned = self
                .plan_receipt(&view, user, room_id, event_id, is_private, &thread)
                .await?;
            let Some(batch) = planned else {
                return Ok(());
            };
            match self.0.store.commit(batch).await {
                Ok(_) if is_private || !self.is_local(user) => return Ok(()),
                Ok(_) => {
                    return self
                        .tell_receipt(&view, user, room_id, event_id, &thread)
                        .await;
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// Tells the other servers in the room how far a user has read.
    async fn tell_receipt(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        thread: &ReceiptThread,
    ) -> Result<(), Error> {
        let mut data = serde_json::json!({ "ts": self.0.clock.now().0 });
        if let Some(thread) = thread.as_str() {
            data["thread_id"] = thread.into();
        }
        let read = serde_json::json!({ user.as_str(): { "data": data, "event_ids": [event_id] } });
        let content = serde_json::json!({ room_id.as_str(): { "m.read": read } });
        let kind = "m.receipt";
        self.tell_room(view, room_id, Message { kind, content })
            .await
    }

    async fn plan_receipt(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        is_private: bool,
        thread: &ReceiptThread,
    ) -> Result<Option<Batch>, Error> {
        if !self.is_joined(view, user, room_id).await? {
            return Err(Error::forbidden("you are not in this room"));
        }
        let event = self
            .event(view, event_id)
            .await?
            .filter(|event| event.pdu.room_id() == room_id)
            .ok_or_else(|| Error::not_found("there is no such event"))?;
        if let ReceiptThread::Thread(root) = thread {
            let in_thread = event_id == root
                || relation_of(event.pdu.content()).is_some_and(|(_, to, _)| to == *root)
                || event.redacted_by.is_some();
            // A reaction to a reply belongs to the thread too: only what is plainly elsewhere is refused.
            let relates = relation_of(event.pdu.content()).is_some();
            if !in_thread && !relates {
                return Err(Error::refused(
                    Refusal::InvalidParam,
                    "the event is not in that thread",
                ));
            }
        }
        let key_text = receipt_key(is_private, thread);
        let key = (room_id.as_str(), user.as_str(), key_text.as_str());
        let old = view.get(&RECEIPTS, key).await?;
        if old.as_ref().is_some_and(|old| old.read >= event.position) {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let position = batch.position();
        batch.assert_unchanged(&RECEIPTS, key, old.as_ref());
        let record = ReceiptRecord {
            event_id: event_id.as_str().to_owned(),
            time: self.0.clock.now().0,
            read: event.position,
            position,
            counted: event.counted,
        };
        batch.put(&RECEIPTS, key, &record);
        if let Some(old) = old {
            batch.delete(&SIGNALS, (room_id.as_str(), old.position));
        }
        let signal = Signal::Receipt(user.as_str().to_owned(), key_text.clone());
        batch.put(&SIGNALS, (room_id.as_str(), position), signal);
        batch.put(&SIGNALLED, room_id.as_str(), position);
        // Nobody else is woken for what nobody else sees; the counts of the user change either way.
        batch.wake(match is_private {
            true => Topic::new('u', user.as_str()),
            false => Topic::new('r', room_id.as_str()),
        });
        Ok(Some(batch))
    }

    /// The receipts of a room, for one who comes new to it: a thousand at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn receipts(&self, view: &View, room_id: &RoomId) -> Result<Vec<Receipt>, Error> {
        self.receipts_under(view, (room_id.as_str(),)).await
    }

    /// The receipts of one user in a room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn receipts_of(
        &self,
        view: &View,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<Vec<Receipt>, Error> {
        self.receipts_under(view, (room_id.as_str(), user.as_str()))
            .await
    }

    async fn receipts_under(&self, view: &View, prefix: impl Part) -> Result<Vec<Receipt>, Error> {
        let found: Vec<((String, String, String), ReceiptRecord)> = view
            .scan_prefix(&RECEIPTS, prefix, Direction::Forward, MAX_SHOWN)
            .await?;
        found
            .into_iter()
            .map(|((_, user, key), record)| Receipt::read_as(&user, &key, record))
            .collect()
    }
}
