//! Owns [`Rooms`]: what the edges call, and what its parts share. Must never decide anything itself: each topic has a
//! file of its own with its share of the methods.

use std::sync::{Arc, OnceLock};

use hearth_base::{Clock, Rng};
use hearth_protocol::SigningKey;
use hearth_store::{Store, View};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, RoomId, ServerName, UserId};
use tokio::sync::Notify;

use crate::{
    Error, Remote,
    head::HEADS,
    head::Head,
    known_events::KnownEvents,
    known_locals::KnownLocals,
    known_rooms::KnownRooms,
    policing::Policy,
    queue::Queues,
    receive::{Backlog, KnownVouchers, Workers},
    state::{Root, StateTree},
    tail::Tails,
    unread::KnownRead,
};

/// How much memory is used for what was read lately.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of events.
    pub events: usize,
    /// Bytes of nodes of state trees.
    pub states: usize,
}

impl Default for Memory {
    /// 16 MiB of events, 8 of states.
    fn default() -> Self {
        Self {
            events: 16 << 20,
            states: 8 << 20,
        }
    }
}

/// Of how many states is remembered whether other servers are in the room.
const KNOWN_SHARED: usize = 8192;

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
    pub(crate) events: KnownEvents,
    pub(crate) queues: Queues,
    pub(crate) known_rooms: KnownRooms,
    pub(crate) tails: Tails,
    /// By the number and the state of a room: whether other servers are in it.
    pub(crate) known_shared: Cache<(u64, Root), bool>,
    pub(crate) known_read: KnownRead,
    pub(crate) known_locals: KnownLocals,
    pub(crate) vouchers: KnownVouchers,
    /// The way to other servers, once there is one.
    pub(crate) remote: OnceLock<Arc<dyn Remote>>,
    /// What this server says of events as a policy server, if it is one.
    pub(crate) policy: OnceLock<Policy>,
    pub(crate) workers: Workers,
    /// What was taken over and is not worked off.
    pub(crate) backlog: Backlog,
    /// Rung when a room was joined without its members.
    pub(crate) joined_partially: Notify,
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
        memory: Memory,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            rng,
            key,
            server_name,
            tree: StateTree::new(memory.states),
            events: KnownEvents::new(memory.events),
            queues: Queues::default(),
            known_rooms: KnownRooms::default(),
            tails: Tails::default(),
            known_shared: Cache::new(KNOWN_SHARED),
            known_read: KnownRead::default(),
            known_locals: KnownLocals::default(),
            vouchers: KnownVouchers::default(),
            remote: OnceLock::new(),
            policy: OnceLock::new(),
            workers: Workers::default(),
            backlog: Backlog::default(),
            joined_partially: Notify::new(),
        }))
    }

    /// A view of the store, to read from.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn view(&self) -> Result<View, Error> {
        Ok(self.0.store.view().await?)
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
}
