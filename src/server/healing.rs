//! Compares the heads of rooms with those of other servers in them, in the background, on the node that has the lease, so that
//! what was lost on its way here is fetched. Owns the pace; which rooms, and what becomes of the answers, is the business of the
//! rooms. Must never ask more often than it says.

use std::time::Duration;

use hearth_rooms::{Rooms, Walk};
use hearth_store::leases::{Kept, held};
use tokio::{sync::watch, time::sleep};

/// Between two questions to other servers.
const BETWEEN: Duration = Duration::from_secs(10);

/// Between two looks for a room about which to ask.
const BREATH: Duration = Duration::from_millis(100);

/// Between two walks through all rooms, and after an error.
const REST: Duration = Duration::from_secs(6 * 60 * 60);

/// After an error.
const IDLE: Duration = Duration::from_secs(60);

/// The lease on this work.
pub(crate) const LEASE: &str = "healing";

/// Works, whenever the lease is held, until the server stops. A walk that is interrupted begins anew; what is taken over is taken
/// once however many nodes ask, so nothing here asserts the lease.
pub(crate) async fn serve(rooms: Rooms, mut kept: Kept, mut stopping: watch::Receiver<bool>) {
    let mut walk = Walk::default();
    // The first walk begins once the server has settled.
    let mut pause = IDLE;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(pause) => {}
        }
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            lease = held(&mut kept) => if lease.is_none() { return },
        }
        pause = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            pause = step(&rooms, &mut walk) => pause,
        };
    }
}

/// Looks at the next rooms, and asks about one at most; the pause that is to follow.
async fn step(rooms: &Rooms, walk: &mut Walk) -> Duration {
    let room_id = match rooms.next_to_heal(walk).await {
        Ok(Some((next, room_id))) => {
            *walk = next;
            room_id
        }
        Ok(None) => {
            *walk = Walk::default();
            return REST;
        }
        Err(error) => {
            tracing::warn!(%error, "it was not looked for rooms that other servers know more of");
            return IDLE;
        }
    };
    let Some(room_id) = room_id else {
        return BREATH;
    };
    metrics::counter!("hearth_heads_compared_total").increment(1);
    match rooms.heal(&room_id).await {
        Ok(0) => {}
        Ok(count) => {
            metrics::counter!("hearth_heads_found_total").increment(count as u64);
            tracing::info!(%room_id, count, "another server knows of events that were lost on their way here");
        }
        Err(error) => tracing::debug!(%room_id, %error, "another server does not tell its heads"),
    }
    BETWEEN
}
