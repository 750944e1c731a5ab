//! Owns fetching what an event that came in needs: the events before it, what vouches for it, or else the state before it.
//! Must never ask without a bound, nor believe an answer unchecked.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use hearth_protocol::{Pdu, RoomVersion};
use hearth_store::View;
use ruma::{OwnedEventId, RoomId, ServerName};

use super::{
    Received,
    accept::StateList,
    check::{create_id, in_graph_order},
};
use crate::{Error, Rooms, queue::Work};

/// How many events before one are asked for.
const MAX_MISSING: usize = 50;

/// How many single events are fetched for one state.
const MAX_SINGLE: usize = 2_000;

/// How many are fetched at once.
const AT_ONCE: usize = 8;

impl Rooms {
    /// Makes sure that everything is known that the rules need to judge the event, where the events of `planned` will be.
    ///
    /// # Errors
    /// `Unreachable` and others when it cannot be had now.
    pub(crate) async fn prepare(
        &self,
        origin: &ServerName,
        pdu: Pdu,
        planned: &HashSet<OwnedEventId>,
    ) -> Result<Received, Error> {
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, pdu.room_id()).await?;
        self.fetch_auth_events(&view, origin, head.version, &pdu)
            .await?;
        if self.is_connected(&view, &pdu, planned).await? {
            return Ok(Received {
                pdu,
                given: None,
                pass_on: false,
            });
        }
        let between = self
            .fetch_between(origin, head.version, head.extremities, &pdu)
            .await?;
        for earlier in between {
            let received = self.prepare_alone(origin, head.version, earlier).await?;
            let work = Work::Receive(Box::new(received));
            match self.enqueue(pdu.room_id().to_owned(), work).await {
                Ok(_) | Err(Error::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.prepare_alone(origin, head.version, pdu).await
    }

    /// As [`Rooms::prepare`], for an event before which no more is asked for.
    async fn prepare_alone(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        pdu: Pdu,
    ) -> Result<Received, Error> {
        let view = self.0.store.view().await?;
        self.fetch_auth_events(&view, origin, version, &pdu).await?;
        let given = match self.is_connected(&view, &pdu, &HashSet::new()).await? {
            true => None,
            false => {
                let (room_id, id) = (pdu.room_id(), pdu.event_id());
                Some(Arc::new(
                    self.fetch_state(origin, version, room_id, id).await?,
                ))
            }
        };
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

    async fn is_placed(&self, view: &View, id: &ruma::EventId) -> Result<bool, Error> {
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
                // The state before the event may be had all the same.
                tracing::debug!(%origin, %error, "the events before one are not given");
                return Ok(Vec::new());
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

    /// Makes sure that what vouches for the event is known.
    pub(crate) async fn fetch_auth_events(
        &self,
        view: &View,
        origin: &ServerName,
        version: RoomVersion,
        pdu: &Pdu,
    ) -> Result<(), Error> {
        let mut missing = false;
        for id in pdu.auth_events() {
            missing |= self.event(view, id).await?.is_none();
        }
        if !missing {
            return Ok(());
        }
        let (room_id, id) = (pdu.room_id(), pdu.event_id());
        let sent = self.remote()?.event_auth(origin, room_id, id).await?;
        let events = self.read_events(room_id, version, &sent).await?;
        let judged = self.judge_outliers(view, version, events).await?;
        self.keep_outliers(version, &judged).await
    }

    /// The state before an event, as the server has it; its events are known afterwards.
    pub(crate) async fn fetch_state(
        &self,
        origin: &ServerName,
        version: RoomVersion,
        room_id: &RoomId,
        event_id: &ruma::EventId,
    ) -> Result<StateList, Error> {
        let ids = self.remote()?.state_ids(origin, room_id, event_id).await?;
        let view = self.0.store.view().await?;
        let mut unknown = Vec::new();
        let create = create_id(version, room_id);
        for id in ids.state.iter().chain(&ids.auth_chain).chain(&create) {
            if self.event(&view, id).await?.is_none() {
                unknown.push(id.clone());
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.len() > MAX_SINGLE {
            return Err(Error::Unreachable(
                "too much of the state is unknown".to_owned(),
            ));
        }
        let fetched = stream::iter(unknown)
            .map(|id| async move { self.remote().ok()?.event(origin, &id).await.ok() })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        let events = self.read_events(room_id, version, &fetched).await?;
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
                .ok_or_else(|| Error::Unreachable(format!("the state event {id} is not given")))?;
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
}
