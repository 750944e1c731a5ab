//! Owns [`Rooms`]: what the edges call, and what its parts share. Must never decide anything itself: each topic has a
//! file of its own with its share of the methods.

use std::sync::{Arc, OnceLock};

use hearth_base::{Clock, Rng};
use hearth_protocol::SigningKey;
use hearth_store::{Store, View};
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName, UserId};

use crate::{
    Error, Remote, StoredEvent, event::EVENTS, head::HEADS, head::Head, known_rooms::KnownRooms,
    queue::Queues, receive::Workers, state::StateTree,
};

/// How many events are kept in memory.
const CACHED_EVENTS: usize = 8192;

/// How many bytes of nodes of state trees are kept in memory.
const CACHED_NODES: usize = 16 << 20;

/// The rooms of this server. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(pub(crate) Arc<Shared>);

/// What every part of [`Rooms`] may use.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) server_name: OwnedServerName,
    pub(crate) tree: StateTree,
    pub(crate) events: Cache<OwnedEventId, Arc<StoredEvent>>,
    pub(crate) queues: Queues,
    pub(crate) known_rooms: KnownRooms,
    /// The way to other servers, once there is one.
    pub(crate) remote: OnceLock<Arc<dyn Remote>>,
    pub(crate) workers: Workers,
}

impl Rooms {
    /// The rooms in `store`; new events are signed with `key` in the name of `server_name`.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        key: Arc<SigningKey>,
        server_name: OwnedServerName,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            rng,
            key,
            server_name,
            tree: StateTree::new(CACHED_NODES),
            events: Cache::new(CACHED_EVENTS),
            queues: Queues::default(),
            known_rooms: KnownRooms::default(),
            remote: OnceLock::new(),
            workers: Workers::default(),
        }))
    }

    /// The name behind the colon of this server's users and aliases.
    #[must_use]
    pub fn server_name(&self) -> &ServerName {
        &self.0.server_name
    }

    /// Whether the user is one of this server.
    #[must_use]
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.0.server_name
    }

    /// Where the room stands; nothing for a room that this server does not know.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn head(&self, view: &View, room_id: &RoomId) -> Result<Option<Head>, Error> {
        Ok(view.get(&HEADS, room_id.as_str()).await?)
    }

    /// Where the rooms stand, in the order asked for.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn heads(
        &self,
        view: &View,
        rooms: impl IntoIterator<Item = &RoomId>,
    ) -> Result<Vec<Option<Head>>, Error> {
        let keys: Vec<_> = rooms.into_iter().map(RoomId::as_str).collect();
        Ok(view.get_many(&HEADS, keys).await?)
    }

    /// As [`Rooms::head`], for a room that has to be there.
    pub(crate) async fn known_head(&self, view: &View, room_id: &RoomId) -> Result<Head, Error> {
        self.head(view, room_id)
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))
    }

    /// The event with this id; nothing for one that this server does not have, or that was committed after the view.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn event(
        &self,
        view: &View,
        event_id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let events = &self.0.events;
        if let Some(found) = events.get(event_id) {
            return Ok((found.position <= view.position()).then_some(found));
        }
        let Some(record) = view.get(&EVENTS, event_id.as_str()).await? else {
            return Ok(None);
        };
        let event = record.read_as(event_id.to_owned())?;
        // Whoever redacted it in the meantime put the redacted form there, which must stay.
        let kept = events.get_or_insert_with(event_id, || Ok::<_, Error>(event))?;
        Ok(Some(kept))
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
        let events = &self.0.events;
        let ids: Vec<OwnedEventId> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        let mut found: Vec<_> = ids.iter().map(|id| events.get(id)).collect();
        let missing: Vec<_> = (0..ids.len()).filter(|i| found[*i].is_none()).collect();
        if !missing.is_empty() {
            let keys: Vec<_> = missing.iter().map(|i| ids[*i].as_str()).collect();
            let records = view.get_many(&EVENTS, keys).await?;
            for (index, record) in missing.into_iter().zip(records) {
                let record = record.ok_or_else(|| {
                    Error::corrupt(format!("the event {} is missing", ids[index]))
                })?;
                let event = record.read_as(ids[index].clone())?;
                let kept = events.get_or_insert_with(&ids[index], || Ok::<_, Error>(event))?;
                found[index] = Some(kept);
            }
        }
        Ok(found.into_iter().flatten().collect())
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
