//! Has rooms that were joined without their members completed, on the node that has the lease. Owns the pace and who is asked
//! again when; what is fetched and believed is the business of the rooms. Must never hold up one room for another.

use std::{collections::HashMap, time::Duration};

use hearth_rooms::Rooms;
use hearth_store::leases::{Kept, held};
use ruma::OwnedRoomId;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

/// The lease on this work.
pub(crate) const LEASE: &str = "completion";

/// Between two looks for rooms, which other nodes may have joined.
const LOOK: Duration = Duration::from_secs(1);

/// How many rooms are completed at once: each may hold a whole answer in memory.
const AT_ONCE: usize = 4;

/// Before the second attempt; doubled with each further one, up to [`LONGEST`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// A room that could not be completed.
struct Failed {
    attempts: u32,
    due: Instant,
}

/// Works, whenever the lease is held, until the server stops. What is stopped goes on after the next start, here or on another
/// node.
pub(crate) async fn serve(rooms: Rooms, mut kept: Kept, mut stopping: watch::Receiver<bool>) {
    loop {
        let lease = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            lease = held(&mut kept) => lease,
        };
        if lease.is_none() {
            return;
        }
        let lost = async { kept.wait_for(Option::is_none).await.is_ok() };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = lost => {}
            () = complete(&rooms) => {}
        }
    }
}

/// Completes rooms for as long as it is let. Dropped, it ends what is under way.
async fn complete(rooms: &Rooms) {
    let mut working: JoinSet<(OwnedRoomId, bool)> = JoinSet::new();
    let mut begun: Vec<OwnedRoomId> = Vec::new();
    let mut failed: HashMap<OwnedRoomId, Failed> = HashMap::new();
    loop {
        match rooms.to_complete().await {
            Ok(found) => {
                failed.retain(|room_id, _| found.contains(room_id));
                for room_id in found {
                    let is_due = |failed: &Failed| failed.due <= Instant::now();
                    let known = failed.get(&room_id);
                    if begun.len() < AT_ONCE
                        && !begun.contains(&room_id)
                        && known.is_none_or(is_due)
                    {
                        let attempt = known.map_or(0, |failed| failed.attempts);
                        begun.push(room_id.clone());
                        working.spawn(attempt_one(rooms.clone(), room_id, attempt));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "it was not looked for rooms to complete"),
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = rooms.joined_without_members() => {}
            Some(done) = working.join_next(), if !working.is_empty() => match done {
                Ok((room_id, is_done)) => {
                    begun.retain(|begun| *begun != room_id);
                    match is_done {
                        true => drop(failed.remove(&room_id)),
                        false => note_failure(&mut failed, room_id),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the completion of a room broke off");
                    // Which one is not said: all begin anew.
                    working.abort_all();
                    begun.clear();
                }
            },
        }
    }
}

async fn attempt_one(rooms: Rooms, room_id: OwnedRoomId, attempt: u32) -> (OwnedRoomId, bool) {
    let started = Instant::now();
    match rooms.complete(&room_id, attempt).await {
        Ok(()) => {
            let took = started.elapsed();
            metrics::histogram!("hearth_room_completion_seconds").record(took.as_secs_f64());
            tracing::info!(room = %room_id, ?took, "all members of a room are known");
            (room_id, true)
        }
        Err(error) => {
            tracing::info!(room = %room_id, attempt, %error, "the members of a room are not known yet");
            (room_id, false)
        }
    }
}

fn note_failure(failed: &mut HashMap<OwnedRoomId, Failed>, room_id: OwnedRoomId) {
    let attempts = failed.get(&room_id).map_or(0, |failed| failed.attempts) + 1;
    let pause = FIRST_PAUSE * (1 << (attempts - 1).min(16));
    let due = Instant::now() + pause.min(LONGEST);
    failed.insert(room_id, Failed { attempts, due });
}
