//! Owns the queue before each room: requests that wait at the same time become one batch with one sync. It keeps
//! conflicts rare; correctness rests on the assertion of the head alone, so any node writes any room. Must never reply
//! before the commit.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hearth_store::CommitError;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    Error, MemberChange, NewEvent, Rooms,
    plan::{Plan, Settled},
    receive::{Piece, Received},
};

/// How many requests may wait for one room.
const MAX_WAITING: usize = 512;

/// How many requests become one batch.
const MAX_GROUP: usize = 64;

/// How often a batch is planned anew after a conflict.
pub(crate) const MAX_TRIES: usize = 8;

/// As [`MAX_TRIES`], for a room's queue: those of other nodes may be as busy with the room.
const MAX_TURNS: u32 = 40;

/// How long a queue steps aside for others at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// What is asked of a room.
#[derive(Clone)]
pub(crate) enum Work {
    /// To send an event.
    Send(NewEvent),
    /// To change a membership.
    Member(MemberChange),
    /// To take in an event of another server.
    Receive(Box<Received>),
    /// To receive events again, now that the state before them is known whole. Alone: done in part it is not done.
    Replay(Arc<Vec<Piece>>),
}

impl Work {
    fn is_alone(&self) -> bool {
        matches!(self, Self::Replay(_))
    }
}

struct Waiting {
    work: Work,
    reply: oneshot::Sender<Result<OwnedEventId, Error>>,
}

/// The requests that wait, by room. A room is there while a task works for it.
#[derive(Default)]
pub(crate) struct Queues(Mutex<HashMap<OwnedRoomId, VecDeque<Waiting>>>);

impl Queues {
    /// Whether anybody waits, or is worked for.
    pub(crate) fn is_busy(&self) -> bool {
        !self.0.lock().is_empty()
    }
}

impl Rooms {
    /// Waits in the room's queue until `work` is committed or refused.
    pub(crate) async fn enqueue(
        &self,
        room_id: OwnedRoomId,
        work: Work,
    ) -> Result<OwnedEventId, Error> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { work, reply };
        {
            let mut queues = self.0.queues.0.lock();
            match queues.get_mut(&room_id) {
                Some(queue) if queue.len() >= MAX_WAITING => return Err(Error::Busy),
                Some(queue) => queue.push_back(waiting),
                None => {
                    queues.insert(room_id.clone(), VecDeque::from([waiting]));
                    // Its own task, so that a client who hangs up does not leave a group half done.
                    tokio::spawn(serve(self.clone(), room_id));
                }
            }
        }
        answer.await.unwrap_or(Err(Error::Busy))
    }
}

/// Gives the room up when its task ends, however it ends: whoever still waits then is told that the room is busy, and the
/// next request starts a new task.
struct Shift {
    rooms: Rooms,
    room_id: OwnedRoomId,
    is_over: bool,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if !self.is_over {
            self.rooms.0.queues.0.lock().remove(&self.room_id);
        }
    }
}

/// Works for the room until nobody waits for it.
async fn serve(rooms: Rooms, room_id: OwnedRoomId) {
    let mut shift = Shift {
        rooms: rooms.clone(),
        room_id: room_id.clone(),
        is_over: false,
    };
    loop {
        let group: Vec<Waiting> = {
            let mut queues = rooms.0.queues.0.lock();
            let Some(queue) = queues.get_mut(&room_id) else {
                return;
            };
            if queue.is_empty() {
                queues.remove(&room_id);
                // The next task may have begun before this one is dropped.
                shift.is_over = true;
                return;
            }
            let before_alone = queue.iter().position(|waiting| waiting.work.is_alone());
            let size = before_alone.map_or(queue.len(), |at| at.max(1));
            queue.drain(..size.min(MAX_GROUP)).collect()
        };
        let work: Vec<_> = group.iter().map(|waiting| waiting.work.clone()).collect();
        let results = carry_out(&rooms, &room_id, &work).await;
        for (waiting, result) in group.into_iter().zip(results) {
            // Whoever hung up does not need the answer.
            waiting.reply.send(result).ok();
        }
    }
}

/// Plans and commits a group, anew after each conflict.
async fn carry_out(
    rooms: &Rooms,
    room_id: &OwnedRoomId,
    group: &[Work],
) -> Vec<Result<OwnedEventId, Error>> {
    let all = |error: &Error| group.iter().map(|_| Err(error.clone())).collect();
    for turn in 0..MAX_TURNS {
        let mut plan = match Plan::open(rooms, room_id.clone()).await {
            Ok(Some(plan)) => plan,
            Ok(None) => return all(&Error::not_found("there is no such room")),
            Err(error) => return all(&error),
        };
        let mut results = Vec::with_capacity(group.len());
        for work in group {
            results.push(match work.clone() {
                Work::Send(event) => plan.send(event).await,
                Work::Member(change) => plan.change(change).await,
                Work::Receive(received) => plan.receive(*received).await,
                Work::Replay(pieces) => match plan.replay(&pieces).await {
                    Err(error) => return all(&error),
                    done => done,
                },
            });
        }
        if plan.is_empty() {
            return results;
        }
        match commit(plan).await {
            Ok(()) => return results,
            Err(CommitError::Conflict) => {
                metrics::counter!("hearth_room_conflicts_total").increment(1);
                step_aside(rooms, turn).await;
            }
            Err(CommitError::Failed(error)) => return all(&error.into()),
        }
    }
    all(&Error::Busy)
}

/// After a conflict: lets the queue of another node go first, for a random time that grows, so that they do not meet again.
async fn step_aside(rooms: &Rooms, turn: u32) {
    let most = LONGEST_PAUSE.min(Duration::from_millis(1 << turn.min(10)));
    let share = u32::try_from(rooms.0.rng.number() % 1024).unwrap_or_default();
    sleep(most * share / 1024).await;
}

/// Commits a plan and makes its events known.
pub(crate) async fn commit(plan: Plan) -> Result<(), CommitError> {
    let (rooms, batch, settled): (Rooms, _, Settled) = plan.finish();
    let committed = rooms.0.store.commit(batch).await?;
    settled.cache(&rooms, &committed);
    Ok(())
}
