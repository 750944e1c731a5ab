//! Owns the head of a room: the one record that changes with every event, and whose being unchanged is asserted by
//! every batch that adds one. Must never hold what grows with the room.

use hearth_protocol::{Depth, RoomVersion};
use hearth_store::{Family, Part, Position, ReadPart, Reader, Table, Writer};
use ruma::{EventId, OwnedEventId};

use crate::{event::version_of, state::Root};

/// Room id to its head.
pub(crate) const HEADS: Table<String, Head> = Table::new(87, "room_heads", Family::Records);

/// Room number to room id: keeps numbers unique.
pub(crate) const NUMBERS: Table<u64, String> = Table::new(88, "room_numbers", Family::Records);

/// Where a room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub version: RoomVersion,
    /// Its number on this server, under which the state tree keeps its nodes.
    pub number: u64,
    /// The position of its newest event.
    pub position: Position,
    /// The greatest depth of its forward extremities.
    pub depth: Depth,
    /// The current state.
    pub state: Root,
    /// How many users are joined.
    pub joined: u64,
    /// How many users are invited.
    pub invited: u64,
    /// How many events default push rules count.
    pub counted: u64,
    /// The events without a successor, 20 at most.
    pub extremities: Vec<OwnedEventId>,
}

impl Part for Head {
    fn write(&self, w: &mut Writer) {
        let version = RoomVersion::ALL
            .iter()
            .position(|v| *v == self.version)
            .and_then(|index| u8::try_from(index).ok());
        version.unwrap_or_default().write(w);
        self.number.write(w);
        self.position.write(w);
        self.depth.0.write(w);
        self.state.0.write(w);
        (self.joined, self.invited, self.counted).write(w);
        for id in &self.extremities {
            id.as_str().write(w);
        }
    }
}

impl ReadPart for Head {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let mut head = Self {
            version: version_of(u8::read(r)?)?,
            number: u64::read(r)?,
            position: Position::read(r)?,
            depth: Depth(u64::read(r)?),
            state: Root(r.array()?),
            joined: u64::read(r)?,
            invited: u64::read(r)?,
            counted: u64::read(r)?,
            extremities: Vec::new(),
        };
        while !r.0.is_empty() {
            let id = EventId::parse(String::read(r)?)
                .map_err(|e| hearth_store::Error::Corrupt(format!("an extremity: {e}")))?;
            head.extremities.push(id);
        }
        Ok(head)
    }
}
