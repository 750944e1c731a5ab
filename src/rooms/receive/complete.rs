//! Owns fetching the state of rooms that were joined without their members: from whom, and what for. Must never believe one
//! server more than another, nor wait for one that does not answer while others might. See
//! `docs/decisions/0018-partial-state.md`.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#get_matrixfederationv1state_idsroomid>

use std::{collections::HashSet, sync::Arc};

use hearth_protocol::RoomVersion;
use hearth_store::View;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId};

use super::{Piece, states::StateList};
use crate::{
    Error, Rooms,
    partial::{Partial, Replay},
    queue::Work,
};

/// How many events are received again with one commit.
const TOGETHER: usize = 32;

/// How many servers are asked in one attempt.
const MAX_SERVERS: usize = 12;

/// How many servers of a room are known to choose from.
const KNOWN_SERVERS: usize = 1_000;

/// After how many attempts in vain events are received without what nobody tells.
const PATIENT_ATTEMPTS: u32 = 6;

impl Rooms {
    /// The rooms that were joined without their members, with users of this server in them. Tells of changes of devices that
    /// waited for others.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn to_complete(&self) -> Result<Vec<OwnedRoomId>, Error> {
        while self.tell_late_devices().await? {}
        let view = self.0.store.view().await?;
        let mut rooms = Vec::new();
        for room_id in self.partial_rooms(&view).await? {
            let own = self.server_name();
            if self.is_server_in_room(&view, own, &room_id).await? {
                rooms.push(room_id);
            }
        }
        Ok(rooms)
    }

    /// Waits until a room is joined on this node without its members.
    pub async fn joined_without_members(&self) {
        self.0.joined_partially.notified().await;
    }

    /// Fetches the state of a room and receives again what came meanwhile, until the room is whole. `attempt` counts those in
    /// vain before. It may be dropped anywhere, and called on several nodes, of which one gets on.
    ///
    /// # Errors
    /// `Unreachable` when no server tells the state; those of the store. What was done stays done.
    pub async fn complete(&self, room_id: &RoomId, attempt: u32) -> Result<(), Error> {
        while self.complete_some(room_id, attempt).await? {}
        Ok(())
    }

    /// A step of [`Rooms::complete`]; whether there may be another.
    pub(crate) async fn complete_some(
        &self,
        room_id: &RoomId,
        attempt: u32,
    ) -> Result<bool, Error> {
        let view = self.0.store.view().await?;
        let Some(head) = self.head(&view, room_id).await? else {
            return Ok(false);
        };
        let Some(partial) = self.partial(&view, room_id, &head).await? else {
            return Ok(false);
        };
        let next = self.next_replays(&view, room_id).await?;
        let Some((first, missing)) = next.first() else {
            return Err(Error::corrupt("a room is partial without an event"));
        };
        if missing.is_empty() {
            let ready = next.iter().take_while(|(_, missing)| missing.is_empty());
            let pieces = ready.map(|(replay, _)| Piece::of(replay, Vec::new()));
            let work = Work::Replay(Arc::new(pieces.collect()));
            self.enqueue(room_id.to_owned(), work).await?;
        } else {
            let servers = self.to_ask(&view, room_id, &partial).await?;
            drop(view);
            self.fetch_and_replay(room_id, head.version, &servers, (first, missing), attempt)
                .await?;
        }
        Ok(true)
    }

    /// Receives an event again that follows what is not known, over the first state that a server tells and that holds.
    async fn fetch_and_replay(
        &self,
        room_id: &RoomId,
        version: RoomVersion,
        servers: &[OwnedServerName],
        (replay, missing): (&Replay, &[OwnedEventId]),
        attempt: u32,
    ) -> Result<(), Error> {
        let is_last_attempt = attempt >= PATIENT_ATTEMPTS;
        let mut failure = Error::Unreachable("nobody else is in the room".to_owned());
        let mut refused = None;
        for server in servers {
            let told = self.states_after(server, version, room_id, missing).await;
            let tried = match told {
                Ok(given) => {
                    let piece = Piece::of(replay, given.clone());
                    let work = Work::Replay(Arc::new(vec![piece]));
                    let done = self.enqueue(room_id.to_owned(), work).await;
                    if matches!(done, Err(Error::Unreachable(_))) {
                        refused = Some(given);
                    }
                    done
                }
                Err(error) => Err(error),
            };
            match tried {
                Ok(_) => return Ok(()),
                Err(error @ (Error::Store(_) | Error::Busy)) => return Err(error),
                Err(error) => {
                    tracing::info!(room = %room_id, %server, %error, "a server does not help with the state of a room");
                    failure = error;
                }
            }
        }
        // An event is not waited for without end; but without any state there is no room.
        let given = match (replay.is_entry, refused) {
            (_, Some(given)) if is_last_attempt => given,
            (false, None) if is_last_attempt => Vec::new(),
            _ => return Err(failure),
        };
        let piece = Piece {
            is_final: true,
            ..Piece::of(replay, given)
        };
        let work = Work::Replay(Arc::new(vec![piece]));
        self.enqueue(room_id.to_owned(), work).await.map(|_| ())
    }

    /// The states after these events, as the server tells them.
    async fn states_after(
        &self,
        server: &OwnedServerName,
        version: RoomVersion,
        room_id: &RoomId,
        events: &[OwnedEventId],
    ) -> Result<Vec<Arc<StateList>>, Error> {
        let mut states = Vec::with_capacity(events.len());
        for id in events {
            let state = self.fetch_state_after(server, version, room_id, id).await?;
            let view = self.0.store.view().await?;
            self.check_same_room(&view, room_id, &state).await?;
            states.push(Arc::new(state));
        }
        Ok(states)
    }

    /// A state has to have the create event that the room is known to have.
    async fn check_same_room(
        &self,
        view: &View,
        room_id: &RoomId,
        state: &StateList,
    ) -> Result<(), Error> {
        let head = self.known_head(view, room_id).await?;
        let known = self.state_id(view, &head, head.state, "m.room.create", "");
        let known = known.await?;
        let told = state
            .iter()
            .find(|(event_type, key, _)| event_type == "m.room.create" && key.is_empty());
        match told.map(|(_, _, id)| id) == known.as_ref() {
            true => Ok(()),
            false => Err(Error::Unreachable(
                "the state is of another room".to_owned(),
            )),
        }
    }

    /// Whom to ask: through whom this server came in, then the others, in an order that differs each time.
    async fn to_ask(
        &self,
        view: &View,
        room_id: &RoomId,
        partial: &Partial,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut others = self.servers(view, room_id, KNOWN_SERVERS).await?;
        others.retain(|server| server != self.server_name() && *server != partial.via);
        let turn = usize::try_from(self.0.rng.number()).unwrap_or_default();
        let turn = turn % others.len().max(1);
        others.rotate_left(turn);
        let via = OwnedServerName::try_from(partial.via.as_str()).ok();
        Ok(via.into_iter().chain(others).take(MAX_SERVERS).collect())
    }

    /// The next events that are to be received again, each after those before it, with those before it that are not known.
    async fn next_replays(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Vec<(Replay, Vec<OwnedEventId>)>, Error> {
        let mut order = Vec::new();
        let (mut expanded, mut done) = (HashSet::new(), HashSet::new());
        let mut open = self.replays(view, room_id, TOGETHER).await?;
        open.reverse();
        while let Some(replay) = open.pop() {
            if done.contains(&replay.event_id) {
                continue;
            }
            let event = self.known_event(view, &replay.event_id).await?;
            let mut missing = Vec::new();
            let mut waits_for = Vec::new();
            for id in event.pdu.prev_events() {
                match self
                    .event(view, id)
                    .await?
                    .filter(|event| !event.is_outlier())
                {
                    None => missing.push(id.clone()),
                    Some(earlier) if done.contains(id) || earlier.pdu.room_id() != room_id => {}
                    Some(earlier) => waits_for.extend(self.replay_of(view, &earlier).await?),
                }
            }
            // Those before it go first, also where they came later. Old rooms may have circles, which end here.
            if waits_for.is_empty() || !expanded.insert(replay.event_id.clone()) {
                done.insert(replay.event_id.clone());
                order.push((replay, missing));
            } else {
                open.push(replay);
                open.extend(waits_for);
            }
            if order.len() >= TOGETHER {
                break;
            }
        }
        Ok(order)
    }
}
