//! Owns the memory of events that were read lately. An event is written once, but a redaction empties it and one of which only
//! itself was known may find its place, on any node: such a change wakes the event's topic, and what was read before that is not
//! believed any more.
//!
//! A hint may come late, so that a reader may see the earlier form for moments. Whoever plans a change of an event reads it
//! from the view ([`Rooms::stored_event`]).

use std::sync::Arc;

use hearth_store::{Moment, Store, Topic, View};
use quick_cache::{Weighter, sync::Cache};
use ruma::{EventId, OwnedEventId};

use crate::{Error, Rooms, StoredEvent, event::EVENTS};

/// How many bytes an event with its place in the memory is expected to take, to begin with.
const USUAL: usize = 2048;

/// The letter of the topics of events.
const TOPIC: char = 'x';

/// What wakes when the record of an event changes.
pub(crate) fn changed(event_id: &EventId) -> Topic {
    Topic::new(TOPIC, event_id.as_str())
}

/// The events that were read lately.
pub(crate) struct KnownEvents(Cache<OwnedEventId, Known, ByMemory>);

#[derive(Clone)]
struct Known {
    /// A moment before it was read.
    since: Moment,
    event: Arc<StoredEvent>,
}

/// Weighs an event by the bytes that it takes.
#[derive(Clone)]
struct ByMemory;

impl Weighter<OwnedEventId, Known> for ByMemory {
    fn weight(&self, _: &OwnedEventId, known: &Known) -> u64 {
        // The key and the memory's own links are some sixteen words more.
        (size_of::<StoredEvent>() + 128 + known.event.pdu.memory()) as u64
    }
}

impl KnownEvents {
    /// None yet; at most `bytes` of them.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(bytes / USUAL, bytes as u64, ByMemory))
    }

    /// The event, if it is remembered as it still is.
    fn get(&self, store: &Store, event_id: &EventId) -> Option<Arc<StoredEvent>> {
        let known = self.0.get(event_id)?;
        // A redaction is final.
        if known.event.redacted_by.is_some() {
            return Some(known.event);
        }
        let moved = store.hints().moved();
        let topic = moved.name(TOPIC, event_id.as_str());
        moved.is_still(known.since, &[topic]).then_some(known.event)
    }

    /// Remembers an event that was read from a view of after `since`.
    pub(crate) fn note(&self, event_id: OwnedEventId, since: Moment, event: Arc<StoredEvent>) {
        self.0.insert(event_id, Known { since, event });
    }

    /// Forgets an event that is removed.
    pub(crate) fn forget(&self, event_id: &EventId) {
        self.0.remove(event_id);
    }
}

impl Rooms {
    /// The event with this id; nothing for one that this server does not have, or that was committed after the view.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn event(
        &self,
        view: &View,
        event_id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        match self.0.events.get(&self.0.store, event_id) {
            Some(found) => Ok((found.position <= view.position()).then_some(found)),
            None => self.stored_event(view, event_id).await,
        }
    }

    /// As [`Rooms::event`], as it is in the view whatever is remembered: for who plans a change of it.
    pub(crate) async fn stored_event(
        &self,
        view: &View,
        event_id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some(record) = view.get(&EVENTS, event_id.as_str()).await? else {
            return Ok(None);
        };
        let event = record.read_as(event_id.to_owned())?;
        let known = &self.0.events;
        known.note(event_id.to_owned(), view.moment(), event.clone());
        Ok(Some(event))
    }

    /// The events with these ids, in the order asked for.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` when one is missing.
    pub(crate) async fn known_events(
        &self,
        view: &View,
        ids: impl IntoIterator<Item = impl AsRef<EventId>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let ids: Vec<OwnedEventId> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        let found = self.found_events(view, &ids, true).await?;
        let missing = |id: &OwnedEventId| Error::corrupt(format!("the event {id} is missing"));
        let events = found.into_iter().zip(&ids);
        events
            .map(|(event, id)| event.ok_or_else(|| missing(id)))
            .collect()
    }

    /// As [`Rooms::event`], of several events at once, in the order asked for. A walk over very many does not have them
    /// remembered.
    pub(crate) async fn found_events(
        &self,
        view: &View,
        ids: impl IntoIterator<Item = &OwnedEventId>,
        remember: bool,
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let (events, store) = (&self.0.events, &self.0.store);
        let ids: Vec<&OwnedEventId> = ids.into_iter().collect();
        let is_seen = |event: &Arc<StoredEvent>| event.position <= view.position();
        let known = ids.iter().map(|id| events.get(store, id).filter(is_seen));
        let mut found: Vec<_> = known.collect();
        let missing: Vec<_> = (0..ids.len()).filter(|i| found[*i].is_none()).collect();
        if !missing.is_empty() {
            let keys: Vec<_> = missing.iter().map(|i| ids[*i].as_str()).collect();
            let records = view.get_many(&EVENTS, keys).await?;
            for (index, record) in missing.into_iter().zip(records) {
                let Some(record) = record else { continue };
                let event = record.read_as(ids[index].clone())?;
                if remember {
                    events.note(ids[index].clone(), view.moment(), event.clone());
                }
                found[index] = Some(event);
            }
        }
        Ok(found)
    }

    /// The event that an index names.
    pub(crate) async fn known_event(
        &self,
        view: &View,
        event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        self.event(view, event_id)
            .await?
            .ok_or_else(|| Error::corrupt(format!("the event {event_id} is missing")))
    }
}
