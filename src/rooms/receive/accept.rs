//! Owns the plan of an event that came in: its mark, the heads and the current state after it. Must
//! never fail for what another server may send: such an event is marked, and kept.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{collections::HashSet, sync::Arc};

use hearth_protocol::{Pdu, PowerLevels};
use hearth_store::{Direction, Family, Table};
use ruma::{EventId, OwnedEventId, UserId};

use super::{judge::Mark, recompute::ASIDE, states::Given};
use crate::{
    Error, Membership, StoredEvent,
    event::{EVENTS, EventRecord},
    known_events::changed,
    member::Moved,
    membership_of,
    plan::Plan,
    state::Root,
    timeline::{EDGES, parse_id},
};

/// Event id to the redaction of it that came first.
pub(crate) const REDACTIONS_AHEAD: Table<String, String> =
    Table::new(141, "redactions_ahead", Family::Records);

/// How many heads a room has at most.
pub(super) const MAX_EXTREMITIES: usize = 20;

/// How many events that one follows are looked at.
const MAX_FOLLOWED: usize = 64;

/// How many events that follow one are looked at.
const MAX_FOLLOWERS: usize = 64;

/// An event that came in, its signatures and hashes checked.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The event.
    pub(crate) pdu: Pdu,
    /// The state before it, where the events before it are not all known.
    pub(crate) given: Given,
    /// Whether this server passes it on to the others: it let the sender in, or the sender is its own.
    pub(crate) pass_on: bool,
}

/// A change of the current state, foreseen.
pub(super) struct Move {
    pub(super) state: Root,
    pub(super) extremities: Vec<OwnedEventId>,
    members: Vec<(Moved, Arc<StoredEvent>)>,
}

impl Plan {
    /// Plans an event that came in.
    ///
    /// # Errors
    /// `Forbidden` when it is rejected or soft-failed, which is planned all the same; those of the store.
    pub(crate) async fn receive(&mut self, received: Received) -> Result<OwnedEventId, Error> {
        let Received {
            pdu,
            given,
            pass_on,
        } = received;
        let id = pdu.event_id().to_owned();
        if let Some(known) = self.stored_event(&id).await? {
            if !known.is_outlier() {
                return match known.pdu.is_rejected() || known.soft_failed {
                    true => Err(Error::forbidden("the event was not allowed")),
                    false => Ok(id),
                };
            }
            self.batch.wake(changed(&id));
        }
        let state_before = self.state_with(&pdu, &given).await?;
        let marked = self.judge(&pdu, state_before).await?;
        let planned = self.mark(pdu, state_before, marked, pass_on).await;
        if matches!(planned, Err(ref error) if !matches!(error, Error::Forbidden(_))) {
            // Nothing half done stays in the plan.
            self.fresh.remove(&id);
        }
        planned
    }

    async fn mark(
        &mut self,
        pdu: Pdu,
        state_before: Root,
        mark: Mark,
        pass_on: bool,
    ) -> Result<OwnedEventId, Error> {
        let id = pdu.event_id().to_owned();
        match mark {
            Mark::Accepted => {
                self.accept(pdu, state_before, pass_on).await?;
                Ok(id)
            }
            Mark::SoftFailed(denied) => {
                tracing::info!(event = %id, reason = denied.reason, "soft-failed");
                metrics::counter!("hearth_events_soft_failed_total").increment(1);
                self.keep_aside(pdu, state_before, true).await?;
                Err(denied.into())
            }
            Mark::Rejected(denied) => {
                tracing::info!(event = %id, reason = denied.reason, "rejected");
                metrics::counter!("hearth_events_rejected_total").increment(1);
                self.keep_aside(pdu.marked_rejected(true), state_before, false)
                    .await?;
                Err(denied.into())
            }
        }
    }

    /// Plans the join with which this server comes into the room: what was known of it stays, but the state and the only
    /// head are those of the join.
    ///
    /// # Errors
    /// `Forbidden` when the state does not allow it; then nothing is planned.
    pub(crate) async fn enter(&mut self, join: Pdu, state_before: Root) -> Result<(), Error> {
        self.head.extremities.clear();
        self.head.state = state_before;
        if let Mark::Rejected(denied) = self.judge(&join, state_before).await? {
            return Err(denied.into());
        }
        // The members follow from the state that was known before.
        self.head.state = self.seen.as_ref().map_or(Root::EMPTY, |seen| seen.state);
        let id = join.event_id().to_owned();
        self.accept(join, state_before, false).await?;
        if let Some(event) = self.fresh.get(&id).cloned() {
            self.note_replay(&event, true);
        }
        Ok(())
    }

    /// Plans events of which only themselves are known. Those that are known are passed over.
    pub(crate) async fn add_outliers(&mut self, events: &[Pdu]) -> Result<(), Error> {
        for pdu in events {
            if self.event(pdu.event_id()).await?.is_some() {
                continue;
            }
            let event = StoredEvent::outlier(pdu.clone(), self.head.version);
            let id = event.event_id().to_owned();
            self.batch.assert_absent(&EVENTS, id.as_str());
            self.batch
                .put(&EVENTS, id.as_str(), EventRecord::of(&event));
            self.fresh.insert(id, Arc::new(event));
        }
        Ok(())
    }

    /// Plans an allowed event: it is in the timeline, and the current state follows it.
    pub(super) async fn accept(
        &mut self,
        pdu: Pdu,
        state_before: Root,
        pass_on: bool,
    ) -> Result<(), Error> {
        let state_after = self.state_after(&pdu, state_before).await?;
        let effects = self.foresee(&pdu, false).await?;
        let moved = self.foresee_move(&pdu, state_after).await?;
        let next = moved.as_ref().map(|moved| moved.state);
        let alarm = self.foresee_alarm(&pdu, (state_before, state_after), next);
        let alarm = alarm.await?;
        let has_gap = self.follows_unknown(&pdu).await?;
        let redaction = self.redaction_ahead(&pdu).await?;
        let is_for_others = pass_on && self.is_for_others(&pdu).await?;
        // From here on nothing fails before the event is in.
        let position = self.batch.position();
        self.is_shared_now = true;
        // Who comes into a room sees it as it was where they came in.
        let current = match self.head.extremities.is_empty() {
            true => state_before,
            false => self.head.state,
        };
        let head = &mut self.head;
        head.counted += u64::from(effects.counts);
        head.position = position;
        head.depth = head.depth.max(pdu.depth());
        if let Some(moved) = moved {
            head.state = moved.state;
            head.extremities = moved.extremities;
            for (member, event) in moved.members {
                self.apply_member(&event.pdu, position, member);
            }
        }
        self.raise(alarm, position);
        let event = Arc::new(StoredEvent {
            version: self.head.version,
            position,
            state_before,
            state_after,
            counted: self.head.counted,
            soft_failed: false,
            redacted_by: None,
            transaction: None,
            pdu,
        });
        self.write_event(&event);
        self.note_replay(&event, false);
        self.note_fork(&event, current);
        if is_for_others {
            self.send_out(&event.pdu, position);
        }
        if has_gap {
            self.note_gap(&event);
        }
        self.apply(&event, effects);
        self.fresh
            .insert(event.event_id().to_owned(), event.clone());
        if let Some(redaction) = redaction {
            let levels = self.levels_in(redaction.state_before).await?;
            self.take_effect(&redaction, &event, &levels).await?;
        }
        self.redact_received(&event).await
    }

    /// Plans an event that is not allowed: it is known, and nothing else.
    pub(super) async fn keep_aside(
        &mut self,
        pdu: Pdu,
        state_before: Root,
        soft_failed: bool,
    ) -> Result<(), Error> {
        let state_after = match soft_failed {
            true => self.state_after(&pdu, state_before).await?,
            false => state_before,
        };
        let position = self.batch.position();
        let event = StoredEvent {
            position,
            state_before,
            state_after,
            counted: self.head.counted,
            soft_failed,
            ..StoredEvent::outlier(pdu, self.head.version)
        };
        let id = event.event_id().to_owned();
        let place = (event.pdu.room_id().as_str(), position);
        self.batch.put(&ASIDE, place, id.as_str());
        self.batch
            .put(&EVENTS, id.as_str(), EventRecord::of(&event));
        self.note_replay(&event, false);
        self.fresh.insert(id, Arc::new(event));
        Ok(())
    }

    /// The heads, the current state and the members after an allowed event; nothing if others that came before follow it.
    pub(super) async fn foresee_move(
        &mut self,
        pdu: &Pdu,
        state_after: Root,
    ) -> Result<Option<Move>, Error> {
        if self.is_followed(pdu).await? {
            return Ok(None);
        }
        let followed = self.followed(pdu).await?;
        let mut extremities = self.head.extremities.clone();
        extremities.retain(|id| !followed.contains(id));
        if extremities.len() >= MAX_EXTREMITIES {
            tracing::warn!(room = %pdu.room_id(), "too many branches: the oldest head is left alone");
            extremities.remove(0);
        }
        let mut roots = self.states_after(&extremities).await?;
        roots.push(state_after);
        let state = self.resolved(&roots).await?;
        extremities.push(pdu.event_id().to_owned());
        let members = match self.is_replaying {
            // Once, when the room is whole.
            true => Vec::new(),
            false => self.moved_members(self.head.state, state).await?,
        };
        Ok(Some(Move {
            state,
            extremities,
            members,
        }))
    }

    /// The events that this one follows, at once or by way of such as are no heads because they were refused.
    pub(super) async fn followed(&self, pdu: &Pdu) -> Result<HashSet<OwnedEventId>, Error> {
        let mut followed = HashSet::new();
        let mut open = pdu.prev_events().to_vec();
        while let Some(id) = open.pop() {
            let is_head = self.head.extremities.contains(&id);
            if followed.len() >= MAX_FOLLOWED || !followed.insert(id.clone()) || is_head {
                continue;
            }
            if let Some(event) = self.event(&id).await?
                && (event.pdu.is_rejected() || event.soft_failed)
            {
                open.extend_from_slice(event.pdu.prev_events());
            }
        }
        Ok(followed)
    }

    /// Whether an event that came before follows this one.
    async fn is_followed(&self, pdu: &Pdu) -> Result<bool, Error> {
        let prefix = (pdu.room_id().as_str(), pdu.event_id().as_str());
        let limit = if self.is_replaying { MAX_FOLLOWERS } else { 1 };
        let followers: Vec<((String, String, String), ())> = self
            .view
            .scan_prefix(&EDGES, prefix, Direction::Forward, limit)
            .await?;
        if !self.is_replaying {
            return Ok(!followers.is_empty());
        }
        for ((_, _, id), ()) in followers {
            if self.is_received_again(&parse_id(id)?).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The memberships that differ in the state `new` from the state `old`, and the events that say so.
    pub(super) async fn moved_members(
        &self,
        old: Root,
        new: Root,
    ) -> Result<Vec<(Moved, Arc<StoredEvent>)>, Error> {
        let mut members = Vec::new();
        for change in self.differences(old, new).await? {
            let Ok(user) = UserId::parse(&change.state_key) else {
                continue;
            };
            let Some(id) = change.new.as_ref().or(change.old.as_ref()) else {
                continue;
            };
            if change.event_type != "m.room.member" {
                continue;
            }
            let event = self.known_event(id).await?;
            let counted = match &change.old {
                Some(old) => Some(membership_of(
                    self.known_event(old).await?.pdu.content().get(),
                )),
                None => None,
            };
            let moved = Moved {
                before: self.member(&user).await?,
                counted,
                now: match change.new {
                    Some(_) => membership_of(event.pdu.content().get()),
                    None => Membership::Leave,
                },
                user,
            };
            members.push((moved, event));
        }
        Ok(members)
    }

    /// An event that a state names.
    pub(crate) async fn known_event(&self, id: &EventId) -> Result<Arc<StoredEvent>, Error> {
        let event = self.event(id).await?;
        event.ok_or_else(|| Error::corrupt(format!("the event {id} is missing")))
    }

    /// The redaction of this event that came before it.
    pub(super) async fn redaction_ahead(
        &self,
        pdu: &Pdu,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let id = self
            .view
            .get(&REDACTIONS_AHEAD, pdu.event_id().as_str())
            .await?;
        match id {
            Some(id) => self.event(&parse_id(id)?).await,
            None => Ok(None),
        }
    }

    /// Lets a redaction that came in take effect, or remembers it for when its target comes.
    pub(crate) async fn redact_received(
        &mut self,
        redaction: &Arc<StoredEvent>,
    ) -> Result<(), Error> {
        let Some(target) = redaction.pdu.redacts() else {
            return Ok(());
        };
        match self.stored_event(target).await? {
            Some(target) if !target.is_outlier() => {
                let levels = self.levels_in(redaction.state_before).await?;
                self.take_effect(redaction, &target, &levels).await
            }
            _ => {
                let id = redaction.event_id().as_str();
                self.batch.put(&REDACTIONS_AHEAD, target.as_str(), id);
                Ok(())
            }
        }
    }

    pub(super) async fn levels_in(&self, root: Root) -> Result<PowerLevels, Error> {
        let create = self
            .state_in(root, "m.room.create", "")
            .await?
            .ok_or_else(|| Error::corrupt("a room without a create event"))?;
        let levels = self.state_in(root, "m.room.power_levels", "").await?;
        let levels = levels.as_ref().map(|event| &event.pdu);
        Ok(PowerLevels::of(self.head.version, &create.pdu, levels)?)
    }
}
