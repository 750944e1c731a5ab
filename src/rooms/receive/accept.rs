//! Owns the plan of an event that came in: the state before it, its mark, the heads and the current state after it. Must
//! never fail for what another server may send: such an event is marked, and kept.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{collections::HashMap, sync::Arc};

use hearth_protocol::{Denied, Pdu, PowerLevels, auth_types, check_named, check_state, create_id};
use hearth_store::{Direction, Family, Table};
use ruma::{OwnedEventId, OwnedUserId, UserId};

use super::recompute::ASIDE;
use crate::{
    Error, Member, Membership, StoredEvent,
    event::{EVENTS, EventRecord},
    known_events::changed,
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

/// Type, state key and event id of the entries of a state.
pub(crate) type StateList = Vec<(String, String, OwnedEventId)>;

/// The state before an event, as far as another server told it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Given {
    /// It follows from the events before it, which are all known.
    #[default]
    Nothing,
    /// It is this.
    Before(Arc<StateList>),
    /// The states after those events before it that are not known; the others give theirs.
    After(Vec<Arc<StateList>>),
}

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

/// What the rules say about an event.
pub(super) enum Mark {
    Accepted,
    SoftFailed(Denied),
    Rejected(Denied),
}

/// A change of the current state, foreseen.
struct Move {
    state: Root,
    extremities: Vec<OwnedEventId>,
    members: Vec<(OwnedUserId, Option<Member>, Membership, Arc<StoredEvent>)>,
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
        let state_before = match given {
            Given::Nothing => self.state_before(&pdu).await?,
            Given::Before(list) => self.given_state(&list).await?,
            Given::After(lists) => self.merged_state(&pdu, &lists).await?,
        };
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
    pub(crate) async fn enter(&mut self, join: Pdu, state: &StateList) -> Result<(), Error> {
        let state_before = self.given_state(state).await?;
        self.head.extremities.clear();
        self.head.state = state_before;
        if let Mark::Rejected(denied) = self.judge(&join, state_before).await? {
            return Err(denied.into());
        }
        // The members follow from the state that was known before.
        self.head.state = self.seen.as_ref().map_or(Root::EMPTY, |seen| seen.state);
        self.accept(join, state_before, false).await
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

    /// The state before an event all of whose predecessors are known.
    pub(crate) async fn state_before(&mut self, pdu: &Pdu) -> Result<Root, Error> {
        let previous = pdu.prev_events();
        let heads = &self.head.extremities;
        if previous.len() == heads.len() && previous.iter().all(|id| heads.contains(id)) {
            return Ok(self.head.state);
        }
        let roots = self.states_after(previous).await?;
        self.resolved(&roots).await
    }

    /// The state before an event some of whose predecessors are not known: what those leave behind is given.
    async fn merged_state(&mut self, pdu: &Pdu, given: &[Arc<StateList>]) -> Result<Root, Error> {
        let mut known = Vec::new();
        for id in pdu.prev_events() {
            if self
                .event(id)
                .await?
                .is_some_and(|event| !event.is_outlier())
            {
                known.push(id.clone());
            }
        }
        let mut roots = self.states_after(&known).await?;
        for list in given {
            roots.push(self.given_state(list).await?);
        }
        self.resolved(&roots).await
    }

    pub(super) async fn states_after(&self, ids: &[OwnedEventId]) -> Result<Vec<Root>, Error> {
        let mut roots = Vec::with_capacity(ids.len());
        for id in ids {
            let event = self.event(id).await?.filter(|event| !event.is_outlier());
            let event =
                event.ok_or_else(|| Error::not_found(format!("the event {id} is not known")))?;
            if Some(event.pdu.room_id()) != self.room_id.as_deref() {
                return Err(Error::forbidden("it follows an event of another room"));
            }
            roots.push(event.state_after);
        }
        Ok(roots)
    }

    /// The state with exactly these entries.
    pub(crate) async fn given_state(&mut self, list: &StateList) -> Result<Root, Error> {
        let base = self.head.state;
        let mut old: HashMap<(String, String), OwnedEventId> = self
            .state_ids(base)
            .await?
            .into_iter()
            .map(|(event_type, state_key, id)| ((event_type, state_key), id))
            .collect();
        let mut changes = Vec::new();
        for (event_type, state_key, id) in list {
            let key = (event_type.clone(), state_key.clone());
            if old.remove(&key).as_ref() != Some(id) {
                changes.push((key.0, key.1, Some(id.clone())));
            }
        }
        changes.extend(
            old.into_keys()
                .map(|(event_type, state_key)| (event_type, state_key, None)),
        );
        self.updated(base, &changes).await
    }

    /// Asks the rules, in their order: what the event names, the state before it, the current state.
    pub(super) async fn judge(&self, pdu: &Pdu, state_before: Root) -> Result<Mark, Error> {
        if let Mark::Rejected(denied) = self.judge_then(pdu, state_before).await? {
            return Ok(Mark::Rejected(denied));
        }
        if state_before != self.head.state
            && self.head.state != Root::EMPTY
            && let Err(denied) = self.allowed_in(self.head.state, pdu).await?
        {
            return Ok(Mark::SoftFailed(denied));
        }
        if let Err(denied) = self.check_policy(pdu).await? {
            return Ok(Mark::SoftFailed(denied));
        }
        Ok(Mark::Accepted)
    }

    /// Asks the rules for where the event stands: what it names, and the state before it.
    pub(super) async fn judge_then(&self, pdu: &Pdu, state_before: Root) -> Result<Mark, Error> {
        let version = self.head.version;
        let mut known = HashMap::new();
        let create = create_id(version, pdu.room_id());
        for id in pdu.auth_events().iter().chain(&create) {
            if let Some(event) = self.event(id).await? {
                known.insert(id.clone(), event.pdu.clone());
            }
        }
        if let Err(denied) = check_named(version, pdu, &known) {
            return Ok(Mark::Rejected(denied));
        }
        match self.allowed_in(state_before, pdu).await? {
            Err(denied) => Ok(Mark::Rejected(denied)),
            Ok(()) => Ok(Mark::Accepted),
        }
    }

    async fn allowed_in(&self, root: Root, pdu: &Pdu) -> Result<Result<(), Denied>, Error> {
        let version = self.head.version;
        let types = auth_types(
            pdu.event_type(),
            pdu.sender(),
            pdu.state_key(),
            pdu.content(),
            version,
        );
        let types = match types {
            Ok(types) => types,
            Err(denied) => return Ok(Err(denied)),
        };
        let mut state = HashMap::with_capacity(types.len() + 1);
        let create = ("m.room.create".to_owned(), String::new());
        for (event_type, state_key) in types.into_iter().chain([create]) {
            if let Some(event) = self.state_in(root, &event_type, &state_key).await? {
                state.insert((event_type, state_key), event.pdu.clone());
            }
        }
        Ok(check_state(version, pdu, |event_type, state_key| {
            state
                .get(&(event_type.to_owned(), state_key.to_owned()))
                .cloned()
        }))
    }

    /// Plans an allowed event: it is in the timeline, and the current state follows it.
    async fn accept(&mut self, pdu: Pdu, state_before: Root, pass_on: bool) -> Result<(), Error> {
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
            for (user, before, now, event) in moved.members {
                self.apply_member(&event.pdu, position, user, before, now);
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
        self.fresh.insert(id, Arc::new(event));
        Ok(())
    }

    pub(super) async fn state_after(
        &mut self,
        pdu: &Pdu,
        state_before: Root,
    ) -> Result<Root, Error> {
        let Some(state_key) = pdu.state_key() else {
            return Ok(state_before);
        };
        let change = (
            pdu.event_type().to_owned(),
            state_key.to_owned(),
            Some(pdu.event_id().to_owned()),
        );
        // A state that holds the event itself needs the event.
        self.fresh
            .entry(pdu.event_id().to_owned())
            .or_insert_with(|| Arc::new(StoredEvent::outlier(pdu.clone(), self.head.version)));
        self.updated(state_before, &[change]).await
    }

    /// The heads, the current state and the members after an allowed event; nothing if others that came before follow it.
    async fn foresee_move(&mut self, pdu: &Pdu, state_after: Root) -> Result<Option<Move>, Error> {
        let prefix = (pdu.room_id().as_str(), pdu.event_id().as_str());
        let followers = self
            .view
            .scan_prefix(&EDGES, prefix, Direction::Forward, 1)
            .await?;
        if !followers.is_empty() {
            return Ok(None);
        }
        let mut extremities = self.head.extremities.clone();
        extremities.retain(|id| !pdu.prev_events().contains(id));
        if extremities.len() >= MAX_EXTREMITIES {
            tracing::warn!(room = %pdu.room_id(), "too many branches: the oldest head is left alone");
            extremities.remove(0);
        }
        let mut roots = self.states_after(&extremities).await?;
        roots.push(state_after);
        let state = self.resolved(&roots).await?;
        extremities.push(pdu.event_id().to_owned());
        let mut members = Vec::new();
        for change in self.differences(self.head.state, state).await? {
            let Ok(user) = UserId::parse(&change.state_key) else {
                continue;
            };
            let Some(id) = change.new.as_ref().or(change.old.as_ref()) else {
                continue;
            };
            if change.event_type != "m.room.member" {
                continue;
            }
            let event = self
                .event(id)
                .await?
                .ok_or_else(|| Error::corrupt(format!("the event {id} is missing")))?;
            let before = self.member(&user).await?;
            let now = match change.new {
                Some(_) => membership_of(event.pdu.content().get()),
                None => Membership::Leave,
            };
            members.push((user, before, now, event));
        }
        Ok(Some(Move {
            state,
            extremities,
            members,
        }))
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
