//! Owns receiving events again that came while the members of their room were not known: over the whole state, with a head of
//! its own that becomes the room's with the last of them. Must never leave a room whole while an event waits for it. See
//! `docs/decisions/0018-partial-state.md`.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::sync::Arc;

use hearth_protocol::Pdu;
use hearth_store::{Position, SCAN_LIMIT};
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName};

use super::{
    judge::Mark,
    states::{Given, StateList},
};
use crate::{
    Error, StoredEvent,
    event::{EVENTS, EventRecord},
    known_events::changed,
    partial::{COMPLETED, Completed, PARTIAL, PARTIAL_SERVERS, Partial, REPLAYS, Replay, SHOWN},
    plan::Plan,
    receive::{ASIDE, GAPS},
    signal::{DEVICE_SIGNALLED, DEVICES_OUTGOING, DEVICES_UNTOLD},
    state::Root,
    timeline::{DEPTHS, EDGES, TIMELINE},
};

/// An event that is to be received again, and what was fetched for that.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) replay: Replay,
    /// The states after those events before it that are not known.
    pub(crate) given: Vec<Arc<StateList>>,
    /// Whether it is rejected if the rules do not allow it: else what was fetched may be wrong.
    pub(crate) is_final: bool,
}

impl Piece {
    /// The event, over states that may turn out to be wrong.
    pub(crate) fn of(replay: &Replay, given: Vec<Arc<StateList>>) -> Self {
        Self {
            replay: replay.clone(),
            given,
            is_final: false,
        }
    }
}

impl Plan {
    /// Notes that the state of the room is told without members.
    pub(super) fn lack_members(&mut self, via: &ServerName, servers: &[OwnedServerName]) {
        let room_id = self.room_id().to_owned();
        let own = self.rooms.server_name().to_owned();
        for server in servers.iter().map(|server| &**server).chain([via]) {
            if server != own {
                let key = (room_id.as_str(), server.as_str());
                self.batch.put(&PARTIAL_SERVERS, key, ());
            }
        }
        if self.partial.is_none() {
            let partial = Partial {
                since: self.batch.position(),
                via: via.as_str().to_owned(),
                state: Root::EMPTY,
                extremities: Vec::new(),
            };
            self.batch.put(&PARTIAL, room_id.as_str(), &partial);
            self.partial = Some(partial);
        }
    }

    /// Puts an event that is kept on the list of those that are to be received again, while the members of the room are not
    /// known. `is_entry`: this server came into the room with it.
    pub(crate) fn note_replay(&mut self, event: &StoredEvent, is_entry: bool) {
        if self.partial.is_some() && !self.is_replaying {
            let key = (event.pdu.room_id().as_str(), event.position);
            let value = (event.event_id().as_str(), u8::from(is_entry));
            self.batch.put(&REPLAYS, key, value);
        }
    }

    /// The state after an event as it was before that was received again.
    pub(super) async fn shown_state(&self, event: &StoredEvent) -> Result<Option<Root>, Error> {
        let key = (event.pdu.room_id().as_str(), event.position);
        Ok(self.view.get(&SHOWN, key).await?)
    }

    /// Whether an event is placed and accepted, and not one that waits to be received again.
    pub(super) async fn is_received_again(&self, id: &EventId) -> Result<bool, Error> {
        let planned = self.fresh.contains_key(id);
        let Some(event) = self.event(id).await? else {
            return Ok(false);
        };
        if event.is_outlier() || event.pdu.is_rejected() || event.soft_failed {
            return Ok(false);
        }
        Ok(planned || !self.rooms.has_partial_state(&self.view, &event).await?)
    }

    /// Plans the next events that are received again; with the last of them the room becomes whole.
    ///
    /// # Errors
    /// `Busy` when another did that meanwhile; `Unreachable` when the join with which this server came in is not allowed by
    /// the state that was fetched. Then the whole plan is to be given up.
    pub(crate) async fn replay(&mut self, pieces: &[Piece]) -> Result<OwnedEventId, Error> {
        let (Some(partial), Some(room_id), Some(last)) =
            (self.partial.clone(), self.room_id.clone(), pieces.last())
        else {
            return Err(Error::Busy);
        };
        let shown = (self.head.state, std::mem::take(&mut self.head.extremities));
        self.head.state = partial.state;
        self.head.extremities.clone_from(&partial.extremities);
        self.is_replaying = true;
        for piece in pieces {
            self.replay_one(&room_id, piece).await?;
        }
        self.is_replaying = false;
        let whole = (self.head.state, std::mem::take(&mut self.head.extremities));
        self.head.state = shown.0;
        self.head.extremities = shown.1;
        // Whoever writes meanwhile has to look again.
        self.head.position = self.batch.position();
        let waiting = self
            .rooms
            .replays(&self.view, &room_id, pieces.len() + 1)
            .await?;
        if waiting.len() > pieces.len() {
            self.kept_roots.push(whole.0);
            let partial = Partial {
                state: whole.0,
                extremities: whole.1,
                ..partial
            };
            self.batch.put(&PARTIAL, room_id.as_str(), &partial);
            self.partial = Some(partial);
        } else {
            self.make_whole(&room_id, &partial, whole).await?;
        }
        Ok(last.replay.event_id.clone())
    }

    async fn replay_one(&mut self, room_id: &RoomId, piece: &Piece) -> Result<(), Error> {
        let (id, position) = (&piece.replay.event_id, piece.replay.position);
        let key = (room_id.as_str(), position);
        if self.view.get(&REPLAYS, key).await?.is_none() {
            return Err(Error::Busy);
        }
        let event = self
            .stored_event(id)
            .await?
            .ok_or_else(|| Error::corrupt(format!("the event {id} is missing")))?;
        let was_accepted = !event.pdu.is_rejected() && !event.soft_failed;
        let pdu = event.pdu.clone().marked_rejected(false);
        let given = match piece.given.is_empty() {
            true => Given::Unknown,
            false => Given::After(piece.given.clone()),
        };
        let state_before = self.state_with(&pdu, &given).await?;
        if piece.replay.is_entry {
            self.head.extremities.clear();
            self.head.state = state_before;
        }
        let mark = self.judge(&pdu, state_before).await?;
        if piece.replay.is_entry && !piece.is_final && !matches!(mark, Mark::Accepted) {
            let reason = "the state that a server tells does not allow the join";
            return Err(Error::Unreachable(reason.to_owned()));
        }
        self.batch.delete(&REPLAYS, key);
        self.batch.wake(changed(id));
        if was_accepted {
            let shown = self.rooms.current_after(&self.view, &event).await?;
            self.batch.put(&SHOWN, key, shown);
        }
        match (mark, was_accepted) {
            (Mark::Accepted, true) => self.keep_in(&event, pdu, state_before).await,
            (Mark::Accepted, false) => {
                self.batch.delete(&ASIDE, key);
                self.accept(pdu, state_before, false).await
            }
            (Mark::SoftFailed(denied), _) => {
                tracing::info!(event = %id, reason = denied.reason, "soft-failed in the whole state");
                self.keep_out(&event, (pdu, true), state_before, was_accepted)
                    .await
            }
            (Mark::Rejected(denied), _) => {
                tracing::info!(event = %id, reason = denied.reason, "rejected in the whole state");
                let pdu = pdu.marked_rejected(true);
                self.keep_out(&event, (pdu, false), state_before, was_accepted)
                    .await
            }
        }
    }

    /// Plans an event that was accepted and still is: it stays where it is, with its whole state.
    async fn keep_in(
        &mut self,
        event: &StoredEvent,
        pdu: Pdu,
        state_before: Root,
    ) -> Result<(), Error> {
        let id = event.event_id().to_owned();
        self.fresh.insert(id.clone(), Arc::new(event.clone()));
        let state_after = self.state_after(&pdu, state_before).await?;
        let moved = self.foresee_move(&pdu, state_after).await?;
        let current = match self.head.extremities.is_empty() {
            true => state_before,
            false => self.head.state,
        };
        if let Some(moved) = moved {
            self.head.state = moved.state;
            self.head.extremities = moved.extremities;
        }
        let event = StoredEvent {
            pdu,
            state_before,
            state_after,
            ..event.clone()
        };
        self.batch
            .put(&EVENTS, id.as_str(), EventRecord::of(&event));
        self.note_fork(&event, current);
        self.fresh.insert(id, Arc::new(event));
        Ok(())
    }

    /// Plans an event that is not allowed, out of all timelines and indexes if it was in them.
    async fn keep_out(
        &mut self,
        event: &Arc<StoredEvent>,
        (pdu, soft_failed): (Pdu, bool),
        state_before: Root,
        was_accepted: bool,
    ) -> Result<(), Error> {
        let id = event.event_id().to_owned();
        let room_id = event.pdu.room_id().as_str();
        if was_accepted {
            self.withdraw(event).await?;
            self.batch
                .put(&ASIDE, (room_id, event.position), id.as_str());
            let (batch, depth) = (&mut self.batch, event.pdu.depth().0);
            batch.delete(&TIMELINE, (room_id, event.position));
            batch.delete(&DEPTHS, (room_id, depth, event.position));
            batch.delete(&GAPS, (room_id, depth, id.as_str()));
            for parent in event.pdu.prev_events() {
                batch.delete(&EDGES, (room_id, parent.as_str(), id.as_str()));
            }
        }
        self.fresh.insert(id.clone(), event.clone());
        let state_after = match soft_failed {
            true => self.state_after(&pdu, state_before).await?,
            false => state_before,
        };
        let kept = StoredEvent {
            pdu,
            state_before,
            state_after,
            soft_failed,
            ..StoredEvent::clone(event)
        };
        self.batch.put(&EVENTS, id.as_str(), EventRecord::of(&kept));
        self.fresh.insert(id, Arc::new(kept));
        Ok(())
    }

    /// Plans the end: the head over the whole state is the room's, and what repeats the state follows.
    async fn make_whole(
        &mut self,
        room_id: &RoomId,
        partial: &Partial,
        (state, extremities): (Root, Vec<OwnedEventId>),
    ) -> Result<(), Error> {
        let position = self.head.position;
        let moved = self.moved_members(self.head.state, state).await?;
        self.head.state = state;
        if !extremities.is_empty() {
            self.head.extremities = extremities;
        }
        for (member, event) in moved {
            self.apply_member(&event.pdu, position, member);
        }
        self.partial = None;
        self.batch.delete(&PARTIAL, room_id.as_str());
        let completed = Completed {
            position,
            state,
            extremities: self.head.extremities.clone(),
        };
        self.batch.put(&COMPLETED, room_id.as_str(), &completed);
        let named = self
            .rooms
            .named_servers(&self.view, room_id, SCAN_LIMIT)
            .await?;
        for server in named {
            let key = (room_id.as_str(), server.as_str());
            self.batch.delete(&PARTIAL_SERVERS, key);
        }
        self.tell_own_devices(room_id, partial.since, position)
            .await
    }

    /// Has the servers that turned out to be in the room hear of the devices of our users in it.
    async fn tell_own_devices(
        &mut self,
        room_id: &RoomId,
        since: Position,
        position: Position,
    ) -> Result<(), Error> {
        let users = self.rooms.local_members(&self.view, room_id).await?;
        let keys = users.iter().map(|user| (room_id.as_str(), user.as_str()));
        let told = self.view.get_many(&DEVICE_SIGNALLED, keys).await?;
        for (user, told) in users.iter().zip(told) {
            let has_changed = told.is_some_and(|told| told > since);
            let table = match has_changed {
                true => &DEVICES_OUTGOING,
                false => &DEVICES_UNTOLD,
            };
            self.batch.put(table, user.as_str(), position);
        }
        self.batch.wake(crate::outgoing::outgoing());
        Ok(())
    }
}
