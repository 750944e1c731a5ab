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
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    Received,
    stage::{STAGED, STAGED_IDS, Staged},
};
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

/// How many events of a room wait for another attempt at most; more are dropped at once.
const MAX_DEFERRED: usize = 1_000;

/// By room the oldest event that waited at some moment.
#[derive(Clone, Debug, Default)]
pub struct Standing(HashMap<String, Position>);

/// The rooms for which a task works.
pub(crate) struct Workers {
    rooms: Mutex<HashMap<OwnedRoomId, Bell>>,
    slots: Arc<Semaphore>,
}

/// Calls the task of a room.
#[derive(Default)]
struct Bell {
    /// Whether it rang since the task last looked.
    rang: bool,
    sound: Arc<Notify>,
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
        if let Some(bell) = rooms.get_mut(room_id) {
            bell.rang = true;
            bell.sound.notify_one();
            return;
        }
        let bell = Bell::default();
        let sound = bell.sound.clone();
        rooms.insert(room_id.to_owned(), bell);
        drop(rooms);
        tokio::spawn(serve(self.clone(), room_id.to_owned(), sound));
    }

    /// Whether anything that came in, or is asked of a room, is being worked off.
    #[must_use]
    pub fn is_working(&self) -> bool {
        !self.0.workers.rooms.lock().is_empty() || self.0.queues.is_busy()
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

    /// The staged events of a room, the oldest first, `limit` at most.
    async fn staged(
        &self,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<Vec<(Position, Staged)>, Error> {
        let view = self.0.store.view().await?;
        let found = view
            .scan_prefix(&STAGED, (room_id.as_str(),), Direction::Forward, limit)
            .await?;
        Ok(found
            .into_iter()
            .map(|((_, position), staged)| (position, staged))
            .collect())
    }

    /// Works off some events of a room; gives those that cannot be done now. The rest is done or dropped.
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
        let mut group = Group::default();
        let mut later = Vec::new();
        for (position, item) in staged {
            let id = parse_id(item.event_id.clone())?;
            let pdu = Pdu::from_stored(id.clone(), item.json.as_bytes(), head.version)
                .map_err(|e| Error::corrupt(format!("a staged event: {e}")))?;
            let origin = OwnedServerName::try_from(item.origin.as_str())
                .map_err(|e| Error::corrupt(format!("a staged event is of nobody: {e}")))?;
            if !self.is_connected(&view, &pdu, &group.planned).await? {
                // What is asked for next may follow those that are ready.
                later.extend(self.take_group(room_id, std::mem::take(&mut group)).await?);
            }
            match self.prepare(&origin, pdu, &group.planned).await {
                Ok(received) => {
                    group.planned.insert(id);
                    group.ready.push((position, item, received));
                }
                Err(error) if error.is_passing() => {
                    tracing::debug!(event = %id, %error, "an event cannot be taken in yet");
                    later.push(id);
                }
                Err(error) => {
                    tracing::info!(event = %id, %error, "an event is dropped");
                    metrics::counter!("hearth_events_dropped_total").increment(1);
                    group.done.push((position, item));
                }
            }
        }
        later.extend(self.take_group(room_id, group).await?);
        Ok(later)
    }

    /// Takes in events that are ready; gives those that cannot be taken in now.
    async fn take_group(&self, room_id: &RoomId, group: Group) -> Result<Vec<OwnedEventId>, Error> {
        let Group {
            ready, mut done, ..
        } = group;
        let works = ready.iter().map(|(_, _, received)| {
            let work = Work::Receive(Box::new(received.clone()));
            self.enqueue(room_id.to_owned(), work)
        });
        let outcomes = join_all(works).await;
        let mut later = Vec::new();
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
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(error)) => return Err(error.into()),
        }
        for (_, item) in staged {
            self.0.backlog.remove(&item.origin);
        }
        Ok(())
    }

    /// Whether the task of the room is to look again; if not, it is over.
    fn looks_again(&self, room_id: &RoomId) -> bool {
        let mut rooms = self.0.workers.rooms.lock();
        match rooms.get_mut(room_id) {
            Some(bell) if bell.rang => {
                bell.rang = false;
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

/// Events that are planned together.
#[derive(Default)]
struct Group {
    planned: HashSet<OwnedEventId>,
    ready: Vec<(Position, Staged, Received)>,
    done: Vec<(Position, Staged)>,
}

/// Events that wait for another attempt: how often each was tried, and when it is tried again.
#[derive(Default)]
struct Deferred(HashMap<OwnedEventId, (u32, Instant)>);

impl Deferred {
    fn is_due(&self, id: &str) -> bool {
        let known = <&EventId>::try_from(id).ok().and_then(|id| self.0.get(id));
        known.is_none_or(|(_, due)| *due <= Instant::now())
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.values().map(|(_, due)| *due).min()
    }

    /// Takes in what was tried; gives what is to be given up.
    fn settle(
        &mut self,
        tried: &[OwnedEventId],
        later: Vec<OwnedEventId>,
    ) -> HashSet<OwnedEventId> {
        let mut attempts: HashMap<_, _> = tried
            .iter()
            .filter_map(|id| Some((id.clone(), self.0.remove(id)?.0)))
            .collect();
        let mut given_up = HashSet::new();
        for id in later {
            let count = attempts.remove(&id).unwrap_or_default() + 1;
            if count >= MAX_ATTEMPTS || self.0.len() >= MAX_DEFERRED {
                given_up.insert(id);
            } else {
                let due = Instant::now() + PAUSE * (1 << count.min(6));
                self.0.insert(id, (count, due));
            }
        }
        given_up
    }
}

/// Works for a room until nothing is staged for it. What has to wait holds up nothing that came after it.
async fn serve(rooms: Rooms, room_id: OwnedRoomId, bell: Arc<Notify>) {
    let mut shift = Shift {
        rooms: rooms.clone(),
        room_id: room_id.clone(),
        is_over: false,
    };
    let mut deferred = Deferred::default();
    loop {
        match work_round(&rooms, &room_id, &mut deferred).await {
            Ok(Round::Worked) => {}
            Ok(Round::Empty) if rooms.looks_again(&room_id) => {}
            Ok(Round::Empty) => {
                shift.is_over = true;
                return;
            }
            Ok(Round::Waits) => {
                let due = deferred.next_due().unwrap_or_else(Instant::now);
                tokio::select! {
                    () = bell.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            }
            Err(error) => {
                tracing::warn!(room = %room_id, %error, "what came in cannot be worked off");
                // Taken up again with the next event of the room, or at the next start.
                return;
            }
        }
    }
}

/// What a look at what is staged found.
enum Round {
    /// Something to do, which was done.
    Worked,
    /// Only what has to wait.
    Waits,
    /// Nothing.
    Empty,
}

async fn work_round(
    rooms: &Rooms,
    room_id: &RoomId,
    deferred: &mut Deferred,
) -> Result<Round, Error> {
    let mut staged = rooms.staged(room_id, TOGETHER + deferred.0.len()).await?;
    if staged.is_empty() {
        return Ok(Round::Empty);
    }
    staged.retain(|(_, item)| deferred.is_due(&item.event_id));
    staged.truncate(TOGETHER);
    if staged.is_empty() {
        return Ok(Round::Waits);
    }
    let _slot = rooms
        .0
        .workers
        .slots
        .acquire()
        .await
        .map_err(|_| Error::Busy)?;
    let tried = staged
        .iter()
        .map(|(_, item)| parse_id(item.event_id.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let later = rooms.work_some(room_id, staged.clone()).await?;
    let given_up = deferred.settle(&tried, later);
    if !given_up.is_empty() {
        staged.retain(|(_, item)| given_up.iter().any(|id| id.as_str() == item.event_id));
        give_up(rooms, room_id, &staged).await?;
    }
    Ok(Round::Worked)
}

/// Drops events that could not be taken in however often it was tried: what they follow cannot be had.
async fn give_up(
    rooms: &Rooms,
    room_id: &RoomId,
    staged: &[(Position, Staged)],
) -> Result<(), Error> {
    let count = staged.len();
    tracing::warn!(room = %room_id, count, "events are dropped whose history cannot be had");
    metrics::counter!("hearth_events_dropped_total").increment(count as u64);
    rooms.forget_staged(room_id, staged).await
}
