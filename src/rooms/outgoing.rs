//! Owns the log of events that other servers are to get. Whoever distributes them takes them from it with the same commit.
//! Must never hold an event that no other server is to get.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#pdus>

use hearth_protocol::Pdu;
use hearth_store::{Batch, Direction, Family, Position, Table, Topic, View};
use ruma::{OwnedEventId, OwnedRoomId};

use crate::{
    Error, Rooms,
    membership::{parse_room, parse_user},
    plan::Plan,
    servers::ROOM_SERVERS,
    timeline::parse_id,
};

/// Position to room and event.
const OUTGOING: Table<Position, (String, String)> = Table::new(138, "outgoing", Family::Log);

/// The letter of the topic that wakes when there is something for other servers.
pub const TOPIC_OUTGOING: char = 'o';

/// What wakes whoever distributes events and changes of devices to other servers.
pub(crate) fn outgoing() -> Topic {
    Topic::new(TOPIC_OUTGOING, "")
}

/// An event that other servers are to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its place in the log.
    pub position: Position,
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event.
    pub event_id: OwnedEventId,
}

impl Rooms {
    /// The next events that other servers are to get, `limit` at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outgoing(&self, view: &View, limit: usize) -> Result<Vec<Outgoing>, Error> {
        let all = Position::ZERO..Position::MAX;
        let found = view.scan(&OUTGOING, all, Direction::Forward, limit).await?;
        found
            .into_iter()
            .map(|(position, (room_id, event_id))| {
                Ok(Outgoing {
                    position,
                    room_id: parse_room(room_id)?,
                    event_id: parse_id(event_id)?,
                })
            })
            .collect()
    }

    /// Takes events from the log, as part of `batch`, which conflicts if another took them.
    pub fn plan_distributed(batch: &mut Batch, events: &[Outgoing]) {
        for event in events {
            let row = (event.room_id.as_str(), event.event_id.as_str());
            batch.assert_equals(&OUTGOING, event.position, row);
            batch.delete(&OUTGOING, event.position);
        }
    }
}

impl Plan {
    /// Whether other servers are to get the event: some are in the room, or it changes what a user of theirs is.
    pub(crate) async fn is_for_others(&self, pdu: &Pdu) -> Result<bool, Error> {
        if self.rooms.remote().is_err() {
            return Ok(false);
        }
        if pdu.event_type() == "m.room.member"
            && let Some(user) = pdu.state_key()
            && parse_user(user.to_owned()).is_ok_and(|user| !self.rooms.is_local(&user))
        {
            return Ok(true);
        }
        self.is_shared().await
    }

    /// Whether other servers are in the room.
    pub(crate) async fn is_shared(&self) -> Result<bool, Error> {
        if self.partial.is_some() {
            return Ok(true);
        }
        let others = |server: &str| server != self.rooms.server_name().as_str();
        if self
            .members
            .keys()
            .any(|user| others(user.server_name().as_str()))
        {
            return Ok(true);
        }
        // Who takes part follows from the state, which the number and the root of its tree name.
        let state = self.seen.as_ref().map(|head| (head.number, head.state));
        let known = &self.rooms.0.known_shared;
        let had_others = || async {
            if let Some(known) = state.and_then(|state| known.get(&state)) {
                return Ok(known);
            }
            let prefix = (self.room_id(),);
            // This server and one that left may come first.
            let found = self
                .view
                .scan_prefix(&ROOM_SERVERS, prefix, Direction::Forward, 16)
                .await?;
            let is_another =
                |((_, server), count): &((String, String), i64)| *count > 0 && others(server);
            let is_shared = found.len() == 16 || found.iter().any(is_another);
            if let Some(state) = state {
                known.insert(state, is_shared);
            }
            Ok::<_, Error>(is_shared)
        };
        Ok(*self.had_others.get_or_try_init(had_others).await?)
    }

    /// Puts the event on the log, at its own position.
    pub(crate) fn send_out(&mut self, pdu: &Pdu, position: Position) {
        let row = (pdu.room_id().as_str(), pdu.event_id().as_str());
        self.batch.put(&OUTGOING, position, row);
        self.batch.wake(outgoing());
    }
}
