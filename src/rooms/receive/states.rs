//! Owns the state before and after an event that came in: from the events before it, or as another server told it. Must never
//! decide whether the event is allowed.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#room-state-resolution>

use std::{collections::HashMap, sync::Arc};

use hearth_protocol::Pdu;
use ruma::OwnedEventId;

use crate::{Error, StoredEvent, plan::Plan, state::Root};

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
    /// Not all events before it are known; if none is, it is this, but for members. For a room whose members are not known.
    WithoutMembers(Arc<StateList>),
    /// Not all events before it are known; if none is, it is taken to be the state of the room. For such a room too.
    Unknown,
}

impl Plan {
    /// The state before an event, given what another server told of it.
    pub(super) async fn state_with(&mut self, pdu: &Pdu, given: &Given) -> Result<Root, Error> {
        match given {
            Given::Nothing => self.state_before(pdu).await,
            Given::Before(list) => self.given_state(list).await,
            Given::After(lists) => self.merged_state(pdu, lists).await,
            Given::WithoutMembers(list) => match self.known_before(pdu).await?.is_empty() {
                true => self.given_state(list).await,
                false => self.merged_state(pdu, &[]).await,
            },
            // Nothing is before the first event of a room.
            Given::Unknown if pdu.prev_events().is_empty() => Ok(Root::EMPTY),
            Given::Unknown => match self.known_before(pdu).await?.is_empty() {
                true => Ok(self.head.state),
                false => self.merged_state(pdu, &[]).await,
            },
        }
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
        let known = self.known_before(pdu).await?;
        let mut roots = self.states_after(&known).await?;
        for list in given {
            roots.push(self.given_state(list).await?);
        }
        self.resolved(&roots).await
    }

    /// Those events before this one of which it is known where they stand.
    pub(super) async fn known_before(&self, pdu: &Pdu) -> Result<Vec<OwnedEventId>, Error> {
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
        Ok(known)
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
            let shown = match self.partial.is_some() && !self.is_replaying {
                true => self.shown_state(&event).await?,
                false => None,
            };
            roots.push(shown.unwrap_or(event.state_after));
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
}
