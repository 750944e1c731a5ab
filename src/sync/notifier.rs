//! Owns waking whoever waits for news. Must never carry news: a waiter that is woken reads from a view of its own.
//!
//! A request registers before it opens its view, reads, and waits only when there was nothing: whatever is committed after
//! the view wakes it, because a wake is kept until it is waited for. One task takes all hints in. A room's hint is turned
//! into its local members by a bounded cache, which every hint that may change a membership empties. Users are known by the
//! short names of their topics: two who share one are woken together, which costs a look. Hints may be lost, so each waiter also
//! looks by itself, slowly; and a task that lags behind wakes everybody.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use hearth_base::{Clock, Millis};
use hearth_rooms::Rooms;
use hearth_store::{FRESH, Hint, Store, Topic, TopicName};
use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio::sync::{Notify, broadcast::error::RecvError, watch};

use crate::Error;

/// How many members of rooms the cache holds, in all rooms together.
const CACHED_MEMBERS: u64 = 500_000;

/// How many rooms the cache is made for.
const CACHED_ROOMS: usize = 20_000;

/// Wakes waiting requests. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

struct Shared {
    store: Store,
    rooms: Rooms,
    clock: Arc<dyn Clock>,
    waiting: Mutex<HashMap<TopicName, Vec<Arc<Notify>>>>,
    members: Cache<OwnedRoomId, Members, ByMembers>,
    closing: watch::Sender<bool>,
}

#[derive(Clone)]
struct Members {
    /// Sorted.
    users: Arc<[TopicName]>,
    read_at: Millis,
}

#[derive(Clone)]
struct ByMembers;

impl Weighter<OwnedRoomId, Members> for ByMembers {
    fn weight(&self, _: &OwnedRoomId, members: &Members) -> u64 {
        u64::try_from(members.users.len()).map_or(u64::MAX, |users| users.saturating_add(1))
    }
}

/// A request that may wait. Taken before the view is opened; given back when dropped.
pub struct Waiter {
    user: TopicName,
    notify: Arc<Notify>,
    notifier: Notifier,
    closing: watch::Receiver<bool>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something happened that may concern the user.
    Hint,
    /// The time was over.
    Timer,
    /// The server closes.
    Closing,
}

impl Notifier {
    /// A notifier whose task runs until the last clone of it is dropped, or [`Notifier::close`].
    ///
    /// Has to be called inside of a runtime.
    #[must_use]
    pub fn start(store: Store, rooms: Rooms, clock: Arc<dyn Clock>) -> Self {
        // Subscribed here, not in the task: a hint after this call is never missed.
        let mut hints = store.hints().subscribe();
        let shared = Arc::new(Shared {
            store,
            rooms,
            clock,
            waiting: Mutex::default(),
            members: Cache::with_weighter(CACHED_ROOMS, CACHED_MEMBERS, ByMembers),
            closing: watch::Sender::new(false),
        });
        let weak = Arc::downgrade(&shared);
        let mut closing = shared.closing.subscribe();
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    received = hints.recv() => received,
                    _ = closing.wait_for(|closing| *closing) => return,
                };
                if !take_in(&weak, received).await {
                    return;
                }
            }
        });
        Self(shared)
    }

    /// Registers a request of `user`.
    #[must_use]
    pub fn register(&self, user: &UserId) -> Waiter {
        let (user, notify) = (self.0.name(user.as_str()), Arc::new(Notify::new()));
        self.0
            .waiting
            .lock()
            .entry(user)
            .or_default()
            .push(notify.clone());
        metrics::gauge!("hearth_sync_requests").increment(1.0);
        Waiter {
            user,
            notify,
            closing: self.0.closing.subscribe(),
            notifier: self.clone(),
        }
    }

    /// Says when all waits end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Wakes who waits in any of these rooms, on this node; not the user beside the room, who knows already.
    pub(crate) async fn wake_rooms(
        &self,
        rooms: impl IntoIterator<Item = (OwnedRoomId, Option<OwnedUserId>)>,
    ) {
        for (room, except) in rooms {
            let topic = Topic::new('r', room.as_str());
            self.0.store.hints().moved().note(&[topic]);
            let except = except.map(|user| self.0.name(user.as_str()));
            self.0.wake_room(&room, except).await;
        }
    }

    /// Ends all waits, now and from now on: each request answers with what it has.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }
}

impl Waiter {
    /// Waits until something may have happened since this waiter was registered or last returned from here, for `longest`
    /// at most.
    pub async fn wait(&mut self, longest: Duration) -> Woken {
        tokio::select! {
            () = self.notify.notified() => Woken::Hint,
            () = tokio::time::sleep(longest) => Woken::Timer,
            // An error would mean that the notifier is gone, which this waiter's own clone of it prevents.
            _ = self.closing.wait_for(|closing| *closing) => Woken::Closing,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.notifier.0.waiting.lock();
        if let Some(waiters) = waiting.get_mut(&self.user) {
            waiters.retain(|other| !Arc::ptr_eq(other, &self.notify));
            if waiters.is_empty() {
                waiting.remove(&self.user);
            }
        }
        drop(waiting);
        metrics::gauge!("hearth_sync_requests").decrement(1.0);
    }
}

/// Takes a hint in; answers whether there will be another.
async fn take_in(weak: &Weak<Shared>, received: Result<Hint, RecvError>) -> bool {
    let Some(shared) = weak.upgrade() else {
        return false;
    };
    match received {
        Ok(hint) => shared.wake(&hint).await,
        Err(RecvError::Lagged(lost)) => {
            tracing::warn!(lost, "hints were lost: everybody who waits looks again");
            shared.members.clear();
            shared.wake_all();
        }
        Err(RecvError::Closed) => return false,
    }
    true
}

impl Shared {
    fn name(&self, user: &str) -> TopicName {
        self.store.hints().moved().name('u', user)
    }

    async fn wake(&self, hint: &Hint) {
        let concerns = |kind| {
            let parts = hint.topics.iter().filter_map(Topic::parts);
            parts.filter_map(move |(k, id)| (k == kind).then_some(id))
        };
        for user in concerns('u') {
            self.wake_user(user);
        }
        // A change of a local membership concerns its user and its room at once.
        let may_change_members = concerns('u').next().is_some();
        for room in concerns('r') {
            let Ok(room) = RoomId::parse(room) else {
                continue;
            };
            if may_change_members {
                self.members.remove(&room);
            }
            self.wake_room(&room, None).await;
        }
    }

    async fn wake_room(&self, room: &OwnedRoomId, except: Option<TopicName>) {
        if self.waiting.lock().is_empty() {
            return;
        }
        match self.members_of(room).await {
            Ok(members) => self.wake_among(&members, except),
            Err(error) => {
                tracing::warn!(%error, %room, "the members of a room cannot be read: all look again");
                self.wake_all();
            }
        }
    }

    async fn members_of(&self, room: &OwnedRoomId) -> Result<Arc<[TopicName]>, Error> {
        let now = self.clock.now();
        if let Some(known) = self.members.get(room)
            && now.since(known.read_at) < FRESH
        {
            return Ok(known.users);
        }
        // Opened after the hint came, so it holds the change that the hint is of.
        let view = self.store.view().await?;
        let users = self.rooms.local_members(&view, room).await?;
        let mut users: Vec<_> = users.iter().map(|user| self.name(user.as_str())).collect();
        users.sort_unstable();
        let users: Arc<[_]> = users.into();
        let read = Members {
            users: users.clone(),
            read_at: now,
        };
        self.members.insert(room.clone(), read);
        Ok(users)
    }

    fn wake_user(&self, user: &str) {
        if let Some(waiters) = self.waiting.lock().get(&self.name(user)) {
            notify(waiters);
        }
    }

    /// Looks at whichever are fewer, those who wait or the members.
    fn wake_among(&self, members: &[TopicName], except: Option<TopicName>) {
        let waiting = self.waiting.lock();
        let is_meant = |user: &&TopicName| except != Some(**user);
        if members.len() <= waiting.len() {
            let meant = members.iter().filter(is_meant);
            for waiters in meant.filter_map(|user| waiting.get(user)) {
                notify(waiters);
            }
        } else {
            let here = waiting
                .iter()
                .filter(|(user, _)| members.binary_search(user).is_ok());
            for (_, waiters) in here.filter(|(user, _)| is_meant(user)) {
                notify(waiters);
            }
        }
    }

    fn wake_all(&self) {
        for waiters in self.waiting.lock().values() {
            notify(waiters);
        }
    }
}

fn notify(waiters: &[Arc<Notify>]) {
    for waiter in waiters {
        waiter.notify_one();
    }
}

#[cfg(test)]
mod tests;
