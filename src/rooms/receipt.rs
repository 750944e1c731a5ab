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
    Error, Message, Refusal, Rooms, StoredEvent,
    membership::parse_user,
    queue::MAX_TRIES,
    relation::relation_of,
    signal::{SIGNALLED, SIGNALS, Signal},
    timeline::parse_id,
};

/// (room, user, kind and thread) to receipt.
pub(crate) const RECEIPTS: Table<(String, String, String), ReceiptRecord> =
    Table::new(103, "receipts", Family::Index);

/// The longest id of an event, in bytes.
const MAX_ID: usize = 255;

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
    /// Up to which event. Of a user of another server it may be one that this server does not have.
    pub event_id: String,
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

/// How far somebody has read now.
struct Read<'a> {
    user: &'a UserId,
    room_id: &'a RoomId,
    event_id: &'a str,
    time: u64,
    /// The position of the event and how many were counted up to it; nothing for one that is not known.
    at: Option<(Position, u64)>,
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
            event_id: record.event_id,
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

    /// Takes over how far a user of another server has read, as that server tells it at `time`.
    ///
    /// # Errors
    /// `Forbidden` when the user is not in the room, `Refused` when the event has too long an id or is not in the thread.
    pub async fn hear_receipt(
        &self,
        user: &UserId,
        room_id: &RoomId,
        event_id: &str,
        time: MilliSecondsSinceUnixEpoch,
        thread: ReceiptThread,
    ) -> Result<(), Error> {
        if event_id.len() > MAX_ID {
            let reason = "the id of the event is too long";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            if !self.may_be_joined(&view, user, room_id).await? {
                return Err(Error::forbidden("the user is not in this room"));
            }
            let event = match <&EventId>::try_from(event_id) {
                Ok(id) => self.event(&view, id).await?,
                Err(_) => None,
            };
            let event = event.filter(|event| event.pdu.room_id() == room_id && !event.is_outlier());
            if let Some(event) = &event {
                check_thread(event, &thread)?;
            }
            let read = Read {
                user,
                room_id,
                event_id,
                time: time.get().into(),
                // One that is still on its way comes after all that is here.
                at: event.map(|event| (event.position, event.counted)),
            };
            let planned = self.plan_read(&view, read, false, &thread).await?;
            let Some(batch) = planned else {
                return Ok(());
            };
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
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
        check_thread(&event, thread)?;
        let read = Read {
            user,
            room_id,
            event_id: event_id.as_str(),
            time: self.0.clock.now().0,
            at: Some((event.position, event.counted)),
        };
        self.plan_read(view, read, is_private, thread).await
    }

    async fn plan_read(
        &self,
        view: &View,
        read: Read<'_>,
        is_private: bool,
        thread: &ReceiptThread,
    ) -> Result<Option<Batch>, Error> {
        let (user, room_id) = (read.user, read.room_id);
        let key_text = receipt_key(is_private, thread);
        let key = (room_id.as_str(), user.as_str(), key_text.as_str());
        let old = view.get(&RECEIPTS, key).await?;
        let is_behind = |old: &ReceiptRecord| match read.at {
            Some((position, _)) => old.read >= position,
            None => old.event_id == read.event_id,
        };
        if old.as_ref().is_some_and(is_behind) {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let position = batch.position();
        batch.assert_unchanged(&RECEIPTS, key, old.as_ref());
        let (at, counted) = read.at.unwrap_or((position, 0));
        let record = ReceiptRecord {
            event_id: read.event_id.to_owned(),
            time: read.time,
            read: at,
            position,
            counted,
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

/// Refuses an event that is not in the thread.
fn check_thread(event: &StoredEvent, thread: &ReceiptThread) -> Result<(), Error> {
    let ReceiptThread::Thread(root) = thread else {
        return Ok(());
    };
    // A reaction to a reply belongs to the thread too: only what is plainly elsewhere is refused.
    let relates = relation_of(event.pdu.content()).is_some();
    match event.event_id() == root || relates || event.redacted_by.is_some() {
        true => Ok(()),
        false => Err(Error::refused(
            Refusal::InvalidParam,
            "the event is not in that thread",
        )),
    }
}
