//! Owns working off what was taken over: one task a room, in the order in which it came. What cannot be done now is tried
//! again, a bounded number of times. Must never hold up another room.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use hearth_protocol::Pdu;
use hearth_store::{Batch, CommitError, Direction, Position};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId};
use tokio::sync::Semaphore;

use super::stage::{STAGED, STAGED_IDS, Staged};
use crate::{Error, Rooms, membership::parse_room, queue::Work, timeline::parse_id};

/// How many rooms are worked for at once.
const AT_ONCE: usize = 32;

/// How many events of a room are planned together.
const TOGETHER: usize = 64;

/// How often an event is tried that cannot be done now.
const MAX_ATTEMPTS: u32 = 5;

/// How long the first pause is before that.
const PAUSE: Duration = Duration::from_secs(1);

/// How many rooms one look for work that lies still goes through.
const RESUMED: usize = 10_000;

/// By room the oldest event that waited at some moment.
#[derive(Clone, Debug, Default)]
pub struct Standing(HashMap<String, Position>);

/// The rooms for which a task works.
pub(crate) struct Workers {
    rooms: Mutex<HashMap<OwnedRoomId, bool>>,
    slots: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            rooms: Mutex::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Rooms {
    /// Has a task work for the room, if none does.
    pub(crate) fn work_off(&self, room_id: &RoomId) {
        let mut rooms = self.0.workers.rooms.lock();
        if let Some(again) = rooms.get_mut(room_id) {
            *again = true;
            return;
        }
        rooms.insert(room_id.to_owned(), false);
        drop(rooms);
        tokio::spawn(serve(self.clone(), room_id.to_owned()));
    }

    /// Takes up the work that lies still: of rooms whose oldest staged event was the same in `before`, since whoever took
    /// it over is dead, or has given up for now. Returns what to hand in the next time.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn resume(&self, before: &Standing) -> Result<Standing, Error> {
        let view = self.0.store.view().await?;
        let mut standing = Standing::default();
        let mut from = String::new();
        for _ in 0..RESUMED {
            let range = (from.clone(), Position::ZERO)..("\u{10FFFF}".to_owned(), Position::ZERO);
            let next = view.scan(&STAGED, range, Direction::Forward, 1).await?;
            let Some(((room_id, oldest), _)) = next.into_iter().next() else {
                break;
            };
            from = format!("{room_id}\u{1}");
            if before.0.get(&room_id) == Some(&oldest) {
                self.work_off(&parse_room(room_id.clone())?);
            }
            standing.0.insert(room_id, oldest);
        }
        Ok(standing)
    }

    /// The staged events of a room, the oldest first.
    async fn staged(&self, room_id: &RoomId) -> Result<Vec<(Position, Staged)>, Error> {
        let view = self.0.store.view().await?;
        let found = view
            .scan_prefix(&STAGED, (room_id.as_str(),), Direction::Forward, TOGETHER)
            .await?;
        Ok(found
            .into_iter()
            .map(|((_, position), staged)| (position, staged))
            .collect())
    }

    /// Works off some events of a room; gives those that cannot be done now.
    async fn work_some(
        &self,
        room_id: &RoomId,
        staged: Vec<(Position, Staged)>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let view = self.0.store.view().await?;
        let Some(head) = self.head(&view, room_id).await? else {
            self.forget_staged(room_id, &staged).await?;
            return Ok(Vec::new());
        };
        drop(view);
        let mut planned: HashSet<OwnedEventId> = HashSet::new();
        let (mut ready, mut done, mut later) = (Vec::new(), Vec::new(), Vec::new());
        for (position, item) in staged {
            let id = parse_id(item.event_id.clone())?;
            let pdu = Pdu::from_stored(id.clone(), item.json.as_bytes(), head.version)
                .map_err(|e| Error::corrupt(format!("a staged event: {e}")))?;
            let origin = OwnedServerName::try_from(item.origin.as_str())
                .map_err(|e| Error::corrupt(format!("a staged event is of nobody: {e}")))?;
            match self.prepare(&origin, pdu, &planned).await {
                Ok(received) => {
                    planned.insert(id);
                    ready.push((position, item, received));
                }
                Err(error) => {
                    tracing::debug!(event = %id, %error, "an event cannot be taken in yet");
                    later.push(id);
                }
            }
        }
        let works = ready.iter().map(|(_, _, received)| {
            let work = Work::Receive(Box::new(received.clone()));
            self.enqueue(room_id.to_owned(), work)
        });
        let outcomes = join_all(works).await;
        for ((position, item, _), outcome) in ready.into_iter().zip(outcomes) {
            match outcome {
                // Rejected and soft-failed ones are kept, and so is what was wrong with them.
                Ok(_) | Err(Error::Forbidden(_)) => done.push((position, item)),
                Err(error) => {
                    tracing::debug!(event = item.event_id, %error, "an event was not taken in");
                    later.push(parse_id(item.event_id)?);
                }
            }
        }
        self.forget_staged(room_id, &done).await?;
        Ok(later)
    }

    async fn forget_staged(
        &self,
        room_id: &RoomId,
        staged: &[(Position, Staged)],
    ) -> Result<(), Error> {
        if staged.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (position, item) in staged {
            batch.delete(&STAGED, (room_id.as_str(), *position));
            batch.delete(&STAGED_IDS, item.event_id.as_str());
        }
        match self.0.store.commit(batch).await {
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }

    /// Whether the task of the room is to look again; if not, it is over.
    fn looks_again(&self, room_id: &RoomId) -> bool {
        let mut rooms = self.0.workers.rooms.lock();
        match rooms.get_mut(room_id) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                rooms.remove(room_id);
                false
            }
        }
    }
}

/// Gives the room up when its task ends, however it ends.
struct Shift {
    rooms: Rooms,
    room_id: OwnedRoomId,
    is_over: bool,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if !self.is_over {
            self.rooms.0.workers.rooms.lock().remove(&self.room_id);
        }
    }
}

/// Works for a room until nothing is staged for it.
async fn serve(rooms: Rooms, room_id: OwnedRoomId) {
    let mut shift = Shift {
        rooms: rooms.clone(),
        room_id: room_id.clone(),
        is_over: false,
    };
    let mut attempts: HashMap<OwnedEventId, u32> = HashMap::new();
    loop {
        let later = match work_round(&rooms, &room_id).await {
            Ok(Some(later)) => later,
            Ok(None) if rooms.looks_again(&room_id) => continue,
            Ok(None) => {
                shift.is_over = true;
                return;
            }
            Err(error) => {
                tracing::warn!(room = %room_id, %error, "what came in cannot be worked off");
                // Taken up again with the next event of the room, or at the next start.
                return;
            }
        };
        if later.is_empty() {
            attempts.clear();
            continue;
        }
        let mut given_up = HashSet::new();
        let mut most = 0;
        for id in later {
            let count = attempts.entry(id.clone()).or_default();
            *count += 1;
            most = most.max(*count);
            if *count >= MAX_ATTEMPTS {
                attempts.remove(&id);
                given_up.insert(id);
            }
        }
        if given_up.is_empty() {
            tokio::time::sleep(PAUSE * (1 << most.min(5))).await;
        } else if let Err(error) = give_up(&rooms, &room_id, &given_up).await {
            tracing::warn!(room = %room_id, %error, "what cannot be taken in is not dropped");
            return;
        }
    }
}

/// One look at what is staged; nothing if nothing is.
async fn work_round(rooms: &Rooms, room_id: &RoomId) -> Result<Option<Vec<OwnedEventId>>, Error> {
    let staged = rooms.staged(room_id).await?;
    if staged.is_empty() {
        return Ok(None);
    }
    let _slot = rooms
        .0
        .workers
        .slots
        .acquire()
        .await
        .map_err(|_| Error::Busy)?;
    rooms.work_some(room_id, staged).await.map(Some)
}

/// Drops events that could not be taken in however often it was tried: what they follow cannot be had.
async fn give_up(
    rooms: &Rooms,
    room_id: &RoomId,
    ids: &HashSet<OwnedEventId>,
) -> Result<(), Error> {
    tracing::warn!(room = %room_id, count = ids.len(), "events are dropped whose history cannot be had");
    metrics::counter!("hearth_events_dropped_total").increment(ids.len() as u64);
    let mut staged = rooms.staged(room_id).await?;
    staged.retain(|(_, item)| ids.iter().any(|id| id.as_str() == item.event_id));
    rooms.forget_staged(room_id, &staged).await
}
