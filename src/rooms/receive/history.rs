//! Owns events of before: their place in the history of a room, and where that has gaps. Must never make them news.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events>

use std::sync::Arc;

use hearth_protocol::{Depth, Pdu};
use hearth_store::{Direction, Family, Table, View};
use ruma::{EventId, RoomId};

use super::judge::Mark;
use crate::{
    Error, Head, Rooms, StoredEvent,
    event::{EVENTS, EventRecord},
    known_events::changed,
    plan::Plan,
    state::Root,
    timeline::{DEPTHS, EDGES},
};

/// (room, depth, event) of the events before which something is missing.
pub(crate) const GAPS: Table<(String, u64, String), ()> = Table::new(132, "gaps", Family::Index);

impl Rooms {
    /// Whether there is a gap in the history of the room before an event of a depth from `low` to `high`.
    pub(crate) async fn has_gap(
        &self,
        view: &View,
        room_id: &RoomId,
        low: Depth,
        high: Depth,
    ) -> Result<bool, Error> {
        let range = (room_id.as_str(), low.0, "")..(room_id.as_str(), high.0.saturating_add(1), "");
        let found = view.scan(&GAPS, range, Direction::Backward, 1).await?;
        Ok(!found.is_empty())
    }

    /// Whether something of the room's history is missing; `head` is that of `view`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn may_have_gaps(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
    ) -> Result<bool, Error> {
        Ok(self.traits(view, room_id, head).await?.gapped.is_some())
    }

    /// Whether something is missing before the event.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn follows_gap(&self, view: &View, event: &StoredEvent) -> Result<bool, Error> {
        let key = (
            event.pdu.room_id().as_str(),
            event.pdu.depth().0,
            event.event_id().as_str(),
        );
        Ok(view.get(&GAPS, key).await?.is_some())
    }
}

impl Plan {
    /// Plans an event of before: pages find it, but it is no news, and the current state stays.
    pub(crate) async fn add_history(&mut self, pdu: Pdu, state_before: Root) -> Result<(), Error> {
        if let Some(known) = self.stored_event(pdu.event_id()).await? {
            if !known.is_outlier() {
                return Ok(());
            }
            self.batch.wake(changed(pdu.event_id()));
        }
        if let Mark::Rejected(denied) = self.judge_then(&pdu, state_before).await? {
            tracing::info!(event = %pdu.event_id(), reason = denied.reason, "rejected");
            return self
                .keep_aside(pdu.marked_rejected(true), state_before, false)
                .await;
        }
        let state_after = self.state_after(&pdu, state_before).await?;
        let has_gap = self.follows_unknown(&pdu).await?;
        let redaction = self.redaction_ahead(&pdu).await?;
        let position = self.batch.position();
        let event = Arc::new(StoredEvent {
            position,
            state_before,
            state_after,
            ..StoredEvent::outlier(pdu, self.head.version)
        });
        let room_id = event.pdu.room_id().as_str();
        let (id, depth) = (event.event_id().as_str(), event.pdu.depth().0);
        let batch = &mut self.batch;
        batch.put(&EVENTS, id, EventRecord::of(&event));
        batch.put(&DEPTHS, (room_id, depth, position), id);
        for parent in event.pdu.prev_events() {
            batch.put(&EDGES, (room_id, parent.as_str(), id), ());
        }
        if has_gap {
            self.note_gap(&event);
        }
        self.fresh
            .insert(event.event_id().to_owned(), event.clone());
        if let Some(redaction) = redaction {
            let levels = self.levels_in(redaction.state_before).await?;
            self.take_effect(&redaction, &event, &levels).await?;
        }
        Ok(())
    }

    pub(super) async fn follows_unknown(&self, pdu: &Pdu) -> Result<bool, Error> {
        for id in pdu.prev_events() {
            if self.event(id).await?.is_none_or(|event| event.is_outlier()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes a gap before a known event, if there still is one.
    pub(crate) async fn note_gap_again(&mut self, id: &EventId) -> Result<(), Error> {
        if let Some(event) = self.event(id).await?
            && self.follows_unknown(&event.pdu).await?
        {
            self.note_gap(&event);
        }
        Ok(())
    }

    pub(super) fn note_gap(&mut self, event: &StoredEvent) {
        let key = (
            event.pdu.room_id().as_str(),
            event.pdu.depth().0,
            event.event_id().as_str(),
        );
        self.batch.put(&GAPS, key, ());
        self.added.traits.gapped = Some(event.position);
    }
}
