//! Owns which rooms are partial: joined without their members, which are still being fetched. What is known of such a room
//! may be used, but must never be told to another server as the whole. See `docs/decisions/0018-partial-state.md`.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#put_matrixfederationv2send_joinroomideventid>

use std::time::Duration;

use hearth_protocol::Pdu;
use hearth_store::{
    Direction, Family, Part, Position, ReadPart, Reader, SCAN_LIMIT, Table, View, Writer,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use tokio::time::{Instant, sleep};

use crate::{
    Error, Head, Membership, Rooms, StoredEvent, membership::parse_room, servers::parse_server,
    state::Root, timeline::parse_id,
};

/// Room to what is known of its completion: the rooms that are partial.
pub(crate) const PARTIAL: Table<String, Partial> =
    Table::new(144, "partial_rooms", Family::Records);

/// (room, server): the servers that were in the room when this one came, as the resident says.
pub(crate) const PARTIAL_SERVERS: Table<(String, String), ()> =
    Table::new(145, "partial_servers", Family::Index);

/// (room, position) to an event that is to be received again over the whole state, and one if this server came in with it.
pub(crate) const REPLAYS: Table<(String, Position), (String, u8)> =
    Table::new(146, "replays", Family::Index);

/// (room, position) to the state after the event there as clients were shown it while the room was partial.
pub(crate) const SHOWN: Table<(String, Position), Root> =
    Table::new(147, "shown_states", Family::Index);

/// Room to how it became whole, the last time.
pub(crate) const COMPLETED: Table<String, Completed> =
    Table::new(148, "completed_rooms", Family::Records);

/// How long a request waits for a room to be whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks of one that waits.
const LOOK: Duration = Duration::from_millis(100);

/// A room whose members are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Where in the log this server came in.
    pub(crate) since: Position,
    /// Through which server.
    pub(crate) via: String,
    /// The state after the events that were received again so far.
    pub(crate) state: Root,
    /// The heads among those.
    pub(crate) extremities: Vec<OwnedEventId>,
}

impl Part for Partial {
    fn write(&self, w: &mut Writer) {
        (self.since, &self.via, self.state).write(w);
        write_ids(&self.extremities, w);
    }
}

impl ReadPart for Partial {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (since, via, state) = ReadPart::read(r)?;
        let extremities = read_ids(r)?;
        Ok(Self {
            since,
            via,
            state,
            extremities,
        })
    }
}

/// How a room became whole. What came before cannot be told from its events: they were received again in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    /// Where in the log.
    pub(crate) position: Position,
    /// The state of the room then.
    pub(crate) state: Root,
    /// Its heads.
    pub(crate) extremities: Vec<OwnedEventId>,
}

impl Part for Completed {
    fn write(&self, w: &mut Writer) {
        (self.position, self.state).write(w);
        write_ids(&self.extremities, w);
    }
}

impl ReadPart for Completed {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (position, state) = ReadPart::read(r)?;
        let extremities = read_ids(r)?;
        Ok(Self {
            position,
            state,
            extremities,
        })
    }
}

fn write_ids(ids: &[OwnedEventId], w: &mut Writer) {
    for id in ids {
        id.as_str().write(w);
    }
}

/// The ids up to the end of a record.
fn read_ids(r: &mut Reader<'_>) -> Result<Vec<OwnedEventId>, hearth_store::Error> {
    let mut ids = Vec::new();
    while !r.0.is_empty() {
        let id = EventId::parse(String::read(r)?)
            .map_err(|e| hearth_store::Error::Corrupt(format!("an extremity: {e}")))?;
        ids.push(id);
    }
    Ok(ids)
}

/// An event that is to be received again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Which.
    pub(crate) event_id: OwnedEventId,
    /// Where it stands in the log.
    pub(crate) position: Position,
    /// Whether this server came into the room with it.
    pub(crate) is_entry: bool,
}

impl Rooms {
    /// What is known of the completion of a room, where `head` is that of `view`; nothing for a room that is whole.
    pub(crate) async fn partial(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
    ) -> Result<Option<Partial>, Error> {
        // History is missing in every partial room, which is known without looking.
        if !self.may_have_gaps(view, room_id, head).await? {
            return Ok(None);
        }
        Ok(view.get(&PARTIAL, room_id.as_str()).await?)
    }

    /// Whether the members of a room are not known, where `head` is that of `view`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_partial(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
    ) -> Result<bool, Error> {
        Ok(self.partial(view, room_id, head).await?.is_some())
    }

    /// Whether the state before the event is not known whole.
    pub(crate) async fn has_partial_state(
        &self,
        view: &View,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        Ok(self.replay_of(view, event).await?.is_some())
    }

    /// That the event is to be received again; nothing if it is not.
    pub(crate) async fn replay_of(
        &self,
        view: &View,
        event: &StoredEvent,
    ) -> Result<Option<Replay>, Error> {
        let key = (event.pdu.room_id().as_str(), event.position);
        let found = view.get(&REPLAYS, key).await?;
        Ok(found.map(|(_, entry)| Replay {
            event_id: event.event_id().to_owned(),
            position: event.position,
            is_entry: entry == 1,
        }))
    }

    /// The rooms that are partial, with users of this server in them or not.
    pub(crate) async fn partial_rooms(&self, view: &View) -> Result<Vec<OwnedRoomId>, Error> {
        let all = ""..crate::purge::LAST;
        let found = view
            .scan(&PARTIAL, all, Direction::Forward, SCAN_LIMIT)
            .await?;
        found
            .into_iter()
            .map(|(room, _)| parse_room(room))
            .collect()
    }

    /// The servers that a resident named, `limit` at most.
    pub(crate) async fn named_servers(
        &self,
        view: &View,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let prefix = (room_id.as_str(),);
        let found = view
            .scan_prefix(&PARTIAL_SERVERS, prefix, Direction::Forward, limit)
            .await?;
        let names = found
            .into_iter()
            .map(|((_, server), ())| parse_server(server));
        names.collect()
    }

    /// Whether a resident named the server.
    pub(crate) async fn is_named(
        &self,
        view: &View,
        server: &ServerName,
        room_id: &RoomId,
    ) -> Result<bool, Error> {
        let key = (room_id.as_str(), server.as_str());
        Ok(view.get(&PARTIAL_SERVERS, key).await?.is_some())
    }

    /// Whether a user takes part in a room or, while its members are not known, may.
    pub(crate) async fn may_be_joined(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<bool, Error> {
        match self.membership(view, user, room_id).await? {
            Some(member) => Ok(member.membership == Membership::Join),
            None => self.is_named(view, user.server_name(), room_id).await,
        }
    }

    /// Waits until the members of a room are known.
    ///
    /// # Errors
    /// `Unreachable` when that takes more than a minute; those of the store.
    pub async fn await_members(&self, room_id: &RoomId) -> Result<(), Error> {
        if self.becomes_whole(room_id, PATIENCE).await? {
            return Ok(());
        }
        let reason = "the members of the room are still being fetched";
        Err(Error::Unreachable(reason.to_owned()))
    }

    /// Waits until the members of a room are known, at most for so long; whether they are.
    pub(crate) async fn becomes_whole(
        &self,
        room_id: &RoomId,
        patience: Duration,
    ) -> Result<bool, Error> {
        let started = Instant::now();
        loop {
            let view = self.0.store.view().await?;
            let Some(head) = self.head(&view, room_id).await? else {
                return Ok(true);
            };
            if !self.is_partial(&view, room_id, &head).await? {
                return Ok(true);
            }
            drop(view);
            if started.elapsed() >= patience {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until a membership is known.
    ///
    /// # Errors
    /// As [`Rooms::await_members`].
    pub async fn await_member(&self, room_id: &RoomId, user: &str) -> Result<(), Error> {
        let Ok(user) = UserId::parse(user) else {
            return self.await_members(room_id).await;
        };
        let view = self.0.store.view().await?;
        let is_known = self.membership(&view, &user, room_id).await?.is_some();
        drop(view);
        match is_known {
            true => Ok(()),
            false => self.await_members(room_id).await,
        }
    }

    /// Where in the log a room became whole that was partial before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn completed_at(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Option<Position>, Error> {
        let completed = view.get(&COMPLETED, room_id.as_str()).await?;
        Ok(completed.map(|completed| completed.position))
    }

    /// The state that the room had here after `event`, as it was shown to one who had seen the log up to `since`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn shown_after(
        &self,
        view: &View,
        event: &StoredEvent,
        since: Position,
    ) -> Result<Root, Error> {
        let room_id = event.pdu.room_id();
        let shown = view.get(&SHOWN, (room_id.as_str(), event.position)).await?;
        let Some(shown) = shown else {
            return self.current_after(view, event).await;
        };
        // Of a room that is partial for the second time, events of the first have been whole for long.
        let completed = self.completed_at(view, room_id).await?;
        match completed.is_none_or(|at| since < at || at < event.position) {
            true => Ok(shown),
            false => self.current_after(view, event).await,
        }
    }

    /// The member event of who sent `event`, as far as the event itself names it: for a room whose members are not known.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn named_sender(
        &self,
        view: &View,
        event: &Pdu,
    ) -> Result<Option<OwnedEventId>, Error> {
        for id in event.auth_events() {
            if let Some(named) = self.event(view, id).await?
                && named.pdu.is("m.room.member", event.sender().as_str())
            {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// The events of a room that are to be received again, the oldest first, `limit` at most.
    pub(crate) async fn replays(
        &self,
        view: &View,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<Vec<Replay>, Error> {
        let prefix = (room_id.as_str(),);
        let found: Vec<((String, Position), (String, u8))> = view
            .scan_prefix(&REPLAYS, prefix, Direction::Forward, limit)
            .await?;
        let parsed = found.into_iter().map(|((_, position), (id, entry))| {
            Ok(Replay {
                event_id: parse_id(id)?,
                position,
                is_entry: entry == 1,
            })
        });
        parsed.collect()
    }
}
