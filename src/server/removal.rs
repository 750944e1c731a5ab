//! Removes rooms that nobody here remembers, in the background, on the node that has the lease. Owns the pace; what is removed, and that it may be, is the
//! business of the rooms. Must never hold up a request: each step is short, and a pause follows it.

use std::time::Duration;

use hearth_rooms::Rooms;
use hearth_store::leases::{Held, Kept, held};
use tokio::{sync::watch, time::sleep};

/// Between two steps of a removal: leaves most of the disk to those who wait for an answer.
const BREATH: Duration = Duration::from_millis(20);

/// Between two looks for something to remove, and after an error.
const IDLE: Duration = Duration::from_secs(60);

/// The lease on this work.
pub(crate) const LEASE: &str = "removal";

/// Works, whenever the lease is held, until the server stops. Where it is stopped, it goes on after the next start, here or
/// on another node.
pub(crate) async fn serve(
    rooms: Rooms,
    kept_for: Duration,
    mut kept: Kept,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let lease = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            lease = held(&mut kept) => lease,
        };
        let Some(lease) = lease else { return };
        let pause = step(&rooms, kept_for, &lease).await;
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(pause) => {}
        }
    }
}

/// One step of a removal; the pause that is to follow.
async fn step(rooms: &Rooms, kept_for: Duration, lease: &Held) -> Duration {
    match rooms.purge_step(kept_for, lease).await {
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
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use hearth_base::{Millis, SeededRng};
    use hearth_protocol::SigningKey;
    use hearth_rooms::{Act, MemberChange, Memory, NewRoom};
    use hearth_store::{Batch, MemoryHints, Store, engines::rocksdb, leases};
    use ruma::{server_name, user_id};
    use tokio::{runtime::Handle, task::spawn_blocking};

    use super::*;

    /// The clock that is paused moves on whenever nothing else happens, so a pause of a minute takes no time. The store has a
    /// thread of its own, which takes some: what was asked of it is waited for while the clock stands still.
    #[tokio::test(start_paused = true)]
    #[allow(
        clippy::disallowed_methods,
        reason = "blocks a thread that is there for it, which stops the clock"
    )]
    async fn what_all_forgot_goes_while_the_server_runs_and_it_stops_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(rocksdb::Options::at(folder.path())).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        let (name, alice) = (server_name!("home").to_owned(), user_id!("@alice:home"));
        let key = SigningKey::generate(&name, "ed25519:1", [1; 32]).unwrap();
        let clock = hearth_base::ManualClock::at(Millis(1_000));
        let rng = Arc::new(SeededRng::new(1));
        let rooms = Rooms::new(
            store.clone(),
            Arc::new(clock),
            rng,
            Arc::new(key),
            name,
            Memory::default(),
        );
        let (stop, stopping) = watch::channel(false);
        let node = leases::NodeId([1; 8]);
        let leases = leases::Leases::join(store.clone(), node, leases::About::default());
        let leases = leases.await.unwrap();
        let kept = leases.keep(LEASE);
        let work = tokio::spawn(serve(rooms.clone(), Duration::ZERO, kept, stopping));
        let room = rooms.create(NewRoom::by(alice.to_owned())).await.unwrap();
        let leave = MemberChange::own(room.clone(), alice.to_owned(), Act::Leave);
        rooms.change_membership(leave).await.unwrap();
        rooms.forget(&room, alice).await.unwrap();
        loop {
            let view = store.view().await.unwrap();
            if rooms.head(&view, &room).await.unwrap().is_none() {
                break;
            }
            let (store, runtime) = (store.clone(), Handle::current());
            let done = move || runtime.block_on(store.commit(Batch::new()));
            spawn_blocking(done).await.unwrap().unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        stop.send_replace(true);
        work.await.unwrap();
    }
}
