//! Removes rooms that nobody here remembers, in the background. Owns the pace; what is removed, and that it may be, is the
//! business of the rooms. Must never hold up a request: each step is short, and a pause follows it.

use std::time::Duration;

use hearth_rooms::Rooms;
use tokio::{sync::watch, time::sleep};

/// Between two steps of a removal: leaves most of the disk to those who wait for an answer.
const BREATH: Duration = Duration::from_millis(20);

/// Between two looks for something to remove, and after an error.
const IDLE: Duration = Duration::from_secs(60);

/// Works until the server stops. Where it is stopped, it goes on after the next start, here or on another node.
pub(crate) async fn serve(rooms: Rooms, kept_for: Duration, mut stopping: watch::Receiver<bool>) {
    loop {
        let pause = match rooms.purge_step(kept_for).await {
            Ok(step) => {
                let records = u64::try_from(step.records).unwrap_or(u64::MAX);
                metrics::counter!("hearth_room_records_removed_total").increment(records);
                if let Some(room_id) = step.removed {
                    metrics::counter!("hearth_rooms_removed_total").increment(1);
                    tracing::info!(room_id, "a room that every user had forgotten is removed");
                }
                if step.has_more { BREATH } else { IDLE }
            }
            Err(error) => {
                tracing::warn!(%error, "a forgotten room could not be removed; tried again later");
                IDLE
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(pause) => {}
        }
    }
}
