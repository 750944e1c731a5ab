//! Owns the record of an event: its JSON, and what this server knows beside it. Written once; a redaction replaces it by
//! the redacted form. Must never be changed otherwise, since it is cached without a way back.

use std::sync::Arc;

use hearth_protocol::{Pdu, RoomVersion};
use hearth_store::{Family, Part, Position, ReadPart, Reader, Table, Writer};
use ruma::{EventId, OwnedDeviceId, OwnedEventId, OwnedUserId};

use crate::state::Root;

/// Event id to its record.
pub(crate) const EVENTS: Table<String, EventRecord> = Table::new(86, "events", Family::Immutable);

/// A request to send that a client may repeat: the same transaction means the same event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Who sent it.
    pub user: OwnedUserId,
    /// On which device.
    pub device: OwnedDeviceId,
    /// The id that the client chose, unique among those of the device in one room.
    pub id: String,
}

/// An event of a room, with what this server knows about it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The event, in its redacted form if it was redacted.
    pub pdu: Pdu,
    /// The version of its room.
    pub version: RoomVersion,
    /// Where it stands in the log; the order of the timeline.
    pub position: Position,
    /// The state of the room before it.
    pub state_before: Root,
    /// The state of the room after it.
    pub state_after: Root,
    /// How many events of the room that default push rules count there were up to and including this one.
    pub counted: u64,
    /// Whether it was allowed where it stands in the graph but not in the state that the room had when it came: it is in
    /// no timeline, and nothing of this server follows it.
    pub soft_failed: bool,
    /// The redaction that emptied it.
    pub redacted_by: Option<OwnedEventId>,
    /// With which transaction a client of this server sent it.
    pub transaction: Option<Transaction>,
}

impl StoredEvent {
    /// The event id.
    #[must_use]
    pub fn event_id(&self) -> &EventId {
        self.pdu.event_id()
    }

    /// Whether only the event itself is known: it is part of a state or vouches for one, and where it stands among the
    /// others is unknown. It has no place in the log.
    #[must_use]
    pub fn is_outlier(&self) -> bool {
        self.position == Position::ZERO
    }

    /// An event of which only itself is known.
    pub(crate) fn outlier(pdu: Pdu, version: RoomVersion) -> Self {
        Self {
            pdu,
            version,
            position: Position::ZERO,
            state_before: Root::EMPTY,
            state_after: Root::EMPTY,
            counted: 0,
            soft_failed: false,
            redacted_by: None,
            transaction: None,
        }
    }

    /// Where pages that start or end at this event are cut.
    #[must_use]
    pub fn place(&self) -> crate::Place {
        crate::Place {
            depth: self.pdu.depth(),
            position: self.position,
        }
    }
}

/// The stored form: everything but the id, which is the key.
#[derive(Clone, Debug)]
pub(crate) struct EventRecord {
    version: RoomVersion,
    rejected: bool,
    soft_failed: bool,
    position: Position,
    state_before: Root,
    state_after: Root,
    counted: u64,
    redacted_by: String,
    transaction: (String, String, String),
    json: Box<str>,
}

impl EventRecord {
    /// The stored form of `event`.
    pub(crate) fn of(event: &StoredEvent) -> Self {
        let transaction = event.transaction.as_ref().map(|t| {
            (
                t.user.as_str().to_owned(),
                t.device.as_str().to_owned(),
                t.id.clone(),
            )
        });
        Self {
            version: event.version,
            rejected: event.pdu.is_rejected(),
            soft_failed: event.soft_failed,
            position: event.position,
            state_before: event.state_before,
            state_after: event.state_after,
            counted: event.counted,
            redacted_by: event
                .redacted_by
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            transaction: transaction.unwrap_or_default(),
            json: event.pdu.json().into(),
        }
    }

    /// The event that was stored under `event_id`.
    pub(crate) fn read_as(
        self,
        event_id: OwnedEventId,
    ) -> Result<Arc<StoredEvent>, hearth_store::Error> {
        let corrupt = |e: &dyn std::fmt::Display| {
            hearth_store::Error::Corrupt(format!("the event {event_id} is unreadable: {e}"))
        };
        let pdu = Pdu::from_stored(event_id.clone(), self.json.as_bytes(), self.version)
            .map_err(|e| corrupt(&e))?
            .marked_rejected(self.rejected);
        let redacted_by = match self.redacted_by.as_str() {
            "" => None,
            id => Some(EventId::parse(id).map_err(|e| corrupt(&e))?),
        };
        let (user, device, id) = self.transaction;
        let transaction = match user.as_str() {
            "" => None,
            _ => Some(Transaction {
                user: OwnedUserId::try_from(user).map_err(|e| corrupt(&e))?,
                device: device.into(),
                id,
            }),
        };
        Ok(Arc::new(StoredEvent {
            pdu,
            version: self.version,
            position: self.position,
            state_before: self.state_before,
            state_after: self.state_after,
            counted: self.counted,
            soft_failed: self.soft_failed,
            redacted_by,
            transaction,
        }))
    }
}

impl Part for EventRecord {
    fn write(&self, w: &mut Writer) {
        // The number of the version is its place in the list of those that this server knows.
        let version = RoomVersion::ALL
            .iter()
            .position(|v| *v == self.version)
            .and_then(|index| u8::try_from(index).ok());
        version.unwrap_or_default().write(w);
        (u8::from(self.rejected) | u8::from(self.soft_failed) << 1).write(w);
        self.position.write(w);
        self.state_before.0.write(w);
        self.state_after.0.write(w);
        self.counted.write(w);
        self.redacted_by.write(w);
        self.transaction.0.write(w);
        if !self.transaction.0.is_empty() {
            self.transaction.1.write(w);
            self.transaction.2.write(w);
        }
        w.raw(self.json.as_bytes());
    }
}

impl ReadPart for EventRecord {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let corrupt = |reason: &str| hearth_store::Error::Corrupt(reason.to_owned());
        let version = version_of(u8::read(r)?)?;
        let marks = u8::read(r)?;
        let (rejected, soft_failed) = (marks & 1 != 0, marks & 2 != 0);
        let position = Position::read(r)?;
        let (state_before, state_after) = (Root(r.array()?), Root(r.array()?));
        let counted = u64::read(r)?;
        let redacted_by = String::read(r)?;
        let mut transaction = (String::read(r)?, String::new(), String::new());
        if !transaction.0.is_empty() {
            transaction.1 = String::read(r)?;
            transaction.2 = String::read(r)?;
        }
        let json = std::str::from_utf8(r.rest())
            .map_err(|_| corrupt("a stored event is not UTF-8"))?
            .into();
        Ok(Self {
            version,
            rejected,
            soft_failed,
            position,
            state_before,
            state_after,
            counted,
            redacted_by,
            transaction,
            json,
        })
    }
}

/// The version with this place in [`RoomVersion::ALL`].
pub(crate) fn version_of(index: u8) -> Result<RoomVersion, hearth_store::Error> {
    RoomVersion::ALL
        .get(usize::from(index))
        .copied()
        .ok_or_else(|| {
            hearth_store::Error::Corrupt("a stored room version is not known".to_owned())
        })
}
