//! Owns fetching what an event that came in needs: the events before it, what vouches for it, or else the state before it.
//! Must never ask without a bound, nor believe an answer unchecked.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use hearth_protocol::{Pdu, RoomVersion, create_id};
use hearth_store::View;
use ruma::{EventId, OwnedEventId, RoomId, ServerName};
use serde_json::value::RawValue;

use super::{Given, Received, order::in_graph_order, states::StateList};
use crate::{Error, Rooms, queue::Work};

/// How many events before one are asked for.
const MAX_MISSING: usize = 50;

/// How many single events are fetched for one state.
const MAX_SINGLE: usize = 2_000;

/// From how many events on the whole state is fetched, if it is more than one in [`SHARE`] of it.
const MANY: usize = 50;
const SHARE: usize = 10;

/// How many states are fetched for the events before one. Whoever fills a gap has few branches that lead out of it.
const MAX_STATES: usize = 20;

/// How many are fetched at once.
const AT_ONCE: usize = 8;

impl Rooms {
    /// Makes sure that everything is known that the rules need to judge an event that `origin` sent, where the events of
    /// `planned` will be.
    ///
    /// # Errors
    /// `Forbidden` when `origin` does not tell what comes before the event; `Unreachable` and others when it cannot be had
    /// now.
    pub(crate) async fn prepare(
        &self,
        origin: &ServerName,
        pdu: Pdu,
        planned: &HashSet<OwnedEventId>,
    ) -> Result<Received, Error> {
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, pdu.room_id()).await?;
        let version = head.version;
        if !self.is_connected(&view, &pdu, planned).await? {
            self.fill_between(origin, version, head.extremities, &pdu)
                .await?;
            let view = self.0.store.view().await?;
            if !self.is_connected(&view, &pdu, planned).await? {
                // Were the state before it asked for here, whoever sends an event could choose the state of the room.
                let reason = "the server does not tell what comes before the event";
                return Err(Error::forbidden(reason));
            }
        }
        self.fetch_auth_events(origin, version, &pdu, planned)
            .await?;
        let pdu = self.recommended_now(pdu).await?;
        Ok(Received {
            pdu,
            given: Given::Nothing,
            pass_on: false,
        })
    }

    /// Takes in the events that an event follows which is still to be sent, from the server that said so. Whether one of them
    /// was not known.
    ///
    /// # Errors
    /// As [`Rooms::prepare`].
    pub(super) async fn fetch_before(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        pdu: &Pdu,
    ) -> Result<bool, Error> {
        let view = self.0.store.view().await?;
        let mut heard = false;
        for id in pdu.prev_events() {
            if self.is_placed(&view, id).await? {
                continue;
            }
            let json = self.remote()?.event(origin, id).await?;
            let mut events = self.read_events(pdu.room_id(), version, &[json]).await?;
            let earlier = events
                .remove(id)
                .ok_or_else(|| Error::not_found("the event before is not given"))?;
            let received = self.prepare(origin, earlier, &HashSet::new()).await?;
            let work = Work::Receive(Box::new(received));
            self.enqueue(pdu.room_id().to_owned(), work).await?;
            heard = true;
        }
        Ok(heard)
    }

    /// Takes in the events between the heads and an event that came in.
    async fn fill_between(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        heads: Vec<OwnedEventId>,
        pdu: &Pdu,
    ) -> Result<(), Error> {
        let mut states = MAX_STATES;
        for earlier in self.fetch_between(origin, version, heads, pdu).await? {
            let id = earlier.event_id().to_owned();
            let prepared = self.prepare_alone(origin, version, earlier, &mut states);
            let taken = match prepared.await {
                Ok(received) => {
                    let work = Work::Receive(Box::new(received));
                    self.enqueue(pdu.room_id().to_owned(), work).await
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(_) => {}
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => tracing::debug!(event = %id, %error, "an earlier event is left out"),
            }
        }
        Ok(())
    }

    /// As [`Rooms::prepare`], for an event before which no more is asked for: where it does not follow what is known, the
    /// states before it are asked for, `left` at most.
    async fn prepare_alone(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        pdu: Pdu,
        left: &mut usize,
    ) -> Result<Received, Error> {
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, pdu.room_id()).await?;
        let mut unknown = Vec::new();
        for id in pdu.prev_events() {
            if !self.is_placed(&view, id).await? {
                unknown.push(id.clone());
            }
        }
        let given = match unknown.is_empty() {
            true => Given::Nothing,
            // The whole state is being fetched, once for all; then the event is received again.
            false if self.is_partial(&view, pdu.room_id(), &head).await? => Given::Unknown,
            false => {
                let mut states = Vec::with_capacity(unknown.len());
                *left = (left.checked_sub(unknown.len()))
                    .ok_or_else(|| Error::forbidden("too many branches lead out of a gap"))?;
                for id in &unknown {
                    let state = self.fetch_state_after(origin, version, pdu.room_id(), id);
                    states.push(Arc::new(state.await?));
                }
                Given::After(states)
            }
        };
        let nothing = HashSet::new();
        self.fetch_auth_events(origin, version, &pdu, &nothing)
            .await?;
        let pdu = self.recommended_now(pdu).await?;
        Ok(Received {
            pdu,
            given,
            pass_on: false,
        })
    }

    /// Whether all events before this one are known, not only by themselves.
    pub(crate) async fn is_connected(
        &self,
        view: &View,
        pdu: &Pdu,
        planned: &HashSet<OwnedEventId>,
    ) -> Result<bool, Error> {
        for id in pdu.prev_events() {
            if !planned.contains(id) && !self.is_placed(view, id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_placed(&self, view: &View, id: &EventId) -> Result<bool, Error> {
        Ok(self
            .event(view, id)
            .await?
            .is_some_and(|event| !event.is_outlier()))
    }

    /// The unknown events between the heads and this one, in the order of the graph.
    async fn fetch_between(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        heads: Vec<OwnedEventId>,
        pdu: &Pdu,
    ) -> Result<Vec<Pdu>, Error> {
        let latest = vec![pdu.event_id().to_owned()];
        let asked =
            self.remote()?
                .missing_events(origin, pdu.room_id(), heads, latest, MAX_MISSING);
        let sent = match asked.await {
            Ok(sent) => sent,
            Err(error) => {
                let error = Error::from(error);
                tracing::debug!(%origin, %error, "the events before one are not given");
                return match error.is_passing() {
                    true => Err(error),
                    false => Ok(Vec::new()),
                };
            }
        };
        let sent = &sent[..sent.len().min(MAX_MISSING)];
        let mut events = self.read_events(pdu.room_id(), version, sent).await?;
        events.remove(pdu.event_id());
        let view = self.0.store.view().await?;
        let mut unknown = HashMap::new();
        for (id, event) in events {
            if !self.is_placed(&view, &id).await? {
                unknown.insert(id, event);
            }
        }
        Ok(in_graph_order(unknown))
    }

    /// Makes sure that what vouches for the event is known, or will be with `planned`. Were the event rejected where that is not
    /// told, servers to which it is would judge otherwise.
    ///
    /// # Errors
    /// `Forbidden` when the server does not tell it; `Unreachable` and others when it cannot be had now.
    pub(crate) async fn fetch_auth_events(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        pdu: &Pdu,
        planned: &HashSet<OwnedEventId>,
    ) -> Result<(), Error> {
        let (room_id, id) = (pdu.room_id(), pdu.event_id());
        let mut view = self.0.store.view().await?;
        let mut missing = self.missing_auth_events(&view, pdu, planned).await?;
        let head = self.known_head(&view, room_id).await?;
        if !missing.is_empty() && self.is_partial(&view, room_id, &head).await? {
            // Mostly the membership of the sender alone, of whom all the rest is known.
            let sent = self.single_events(origin, missing).await?;
            let events = self.read_events(room_id, version, &sent).await?;
            let judged = self.judge_outliers(&view, version, events).await?;
            self.keep_outliers(version, &judged).await?;
            view = self.0.store.view().await?;
            missing = self.missing_auth_events(&view, pdu, planned).await?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let asked = self.remote()?.event_auth(origin, room_id, id);
        let sent = asked.await.map_err(Error::from)?;
        let events = self.read_events(room_id, version, &sent).await?;
        let judged = self.judge_outliers(&view, version, events).await?;
        self.keep_outliers(version, &judged).await?;
        let view = self.0.store.view().await?;
        let missing = self.missing_auth_events(&view, pdu, planned).await?;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::forbidden(
                "the server does not tell what vouches for the event",
            )),
        }
    }

    async fn missing_auth_events(
        &self,
        view: &View,
        pdu: &Pdu,
        planned: &HashSet<OwnedEventId>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let mut missing = HashSet::new();
        for id in pdu.auth_events() {
            if !planned.contains(id) && self.event(view, id).await?.is_none() {
                missing.insert(id.clone());
            }
        }
        Ok(missing)
    }

    /// The state after an event that is not known, as the server has it; its events are known afterwards.
    pub(super) async fn fetch_state_after(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateList, Error> {
        let state = self.fetch_state(origin, version, room_id, event_id);
        let mut state = state.await?;
        let view = self.0.store.view().await?;
        let event = match self.event(&view, event_id).await? {
            Some(event) => event,
            None => {
                let json = self.remote()?.event(origin, event_id).await?;
                let events = self.read_events(room_id, version, &[json]).await?;
                let judged = self.judge_outliers(&view, version, events).await?;
                self.keep_outliers(version, &judged).await?;
                let view = self.0.store.view().await?;
                let event = self.event(&view, event_id).await?;
                event.ok_or_else(|| Error::not_found("the event before is not given"))?
            }
        };
        if event.pdu.room_id() != room_id {
            return Err(Error::forbidden("it follows an event of another room"));
        }
        if let Some(state_key) = event.pdu.state_key()
            && !event.pdu.is_rejected()
        {
            let event_type = event.pdu.event_type();
            state.retain(|(of, key, _)| of != event_type || key != state_key);
            let id = event_id.to_owned();
            state.push((event_type.to_owned(), state_key.to_owned(), id));
        }
        Ok(state)
    }

    /// The state before an event, as the server has it; its events are known afterwards.
    ///
    /// # Errors
    /// `NotFound` when the server does not give all of it; `Unreachable` and others when it cannot be had now.
    pub(crate) async fn fetch_state(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateList, Error> {
        let ids = self.remote()?.state_ids(origin, room_id, event_id).await?;
        let view = self.0.store.view().await?;
        let mut unknown = HashSet::new();
        let create = create_id(version, room_id);
        for id in ids.state.iter().chain(&ids.auth_chain).chain(&create) {
            if self.event(&view, id).await?.is_none() {
                unknown.insert(id.clone());
            }
        }
        let all = ids.state.len() + ids.auth_chain.len();
        let is_much = unknown.len() > MANY && unknown.len() > all / SHARE;
        let sent = match is_much || unknown.len() > MAX_SINGLE {
            true => self.whole_state(origin, room_id, event_id).await?,
            false => self.single_events(origin, unknown.clone()).await?,
        };
        let mut events = self.read_events(room_id, version, &sent).await?;
        drop(sent);
        events.retain(|id, _| unknown.contains(id));
        // Anew: fetching many one by one may have taken longer than a view lives.
        let view = self.0.store.view().await?;
        let judged = self.judge_outliers(&view, version, events).await?;
        self.keep_outliers(version, &judged).await?;
        let view = self.0.store.view().await?;
        let mut state = StateList::with_capacity(ids.state.len());
        for id in &ids.state {
            let event = self
                .event(&view, id)
                .await?
                .ok_or_else(|| Error::not_found(format!("the state event {id} is not given")))?;
            if event.pdu.is_rejected() || event.pdu.room_id() != room_id {
                continue;
            }
            if let Some(state_key) = event.pdu.state_key() {
                let entry = (event.pdu.event_type(), state_key, id.clone());
                state.push((entry.0.to_owned(), entry.1.to_owned(), entry.2));
            }
        }
        Ok(state)
    }

    async fn whole_state(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let whole = self.remote()?.state(origin, room_id, event_id).await?;
        let mut sent = whole.state;
        sent.extend(whole.auth_chain);
        Ok(sent)
    }

    /// Events that are asked for one by one, as far as they are given.
    async fn single_events(
        &self,
        origin: &ServerName,
        ids: HashSet<OwnedEventId>,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let remote = self.remote()?;
        let mut sent = Vec::with_capacity(ids.len());
        let mut answers = stream::iter(ids)
            .map(|id| async move { remote.event(origin, &id).await })
            .buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            match answer.map_err(Error::from) {
                Ok(event) => sent.push(event),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => tracing::debug!(%origin, %error, "an event is not given"),
            }
        }
        Ok(sent)
    }
}
