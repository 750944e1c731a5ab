//! Works under leases until it is killed, or told to end: counts pieces of work, in a way that counts one twice if two
//! processes hold a lease at a time.
//!
//!     tally postgres://…
#![allow(clippy::print_stdout)]

use std::{sync::Arc, time::Duration};

use hearth_base::{Clock as _, Rng as _, SystemClock, SystemRng};
use hearth_store::{
    Batch, CommitError, MemoryHints, Store,
    engines::postgres::{self, Options},
    leases::{About, Held, Kept, Leases, NodeId, held},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

mod tables;

use tables::{DONE, EFFECTS, LEASES, TALLY, WORK, lease};

/// The pause after each piece of work.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which database?")?;
    let mut told = signal(SignalKind::terminate())?;
    let engine = loop {
        match postgres::open(Options::at(&url), Arc::new(SystemRng)).await {
            Ok(engine) => break engine,
            // The database may be away at this moment.
            Err(error) => println!("{error}"),
        }
        sleep(PAUSE).await;
    };
    let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
    let mut node = NodeId([0; 8]);
    SystemRng.fill(&mut node.0);
    let about = About {
        address: TALLY.to_owned(),
        // As a node of this version: the others would not run beside an older one.
        schema: hearth_server::Schema::THIS.writes,
        ..About::default()
    };
    let leases = loop {
        match Leases::join(store.clone(), node, about.clone()).await {
            Ok(leases) => break leases,
            Err(error) => println!("{error}"),
        }
    };
    for number in 0..LEASES {
        let name = lease(number);
        let kept = leases.keep(&name);
        tokio::spawn(work(store.clone(), name, kept));
    }
    told.recv().await;
    leases.leave().await;
    store.engine().close().await?;
    Ok(())
}

async fn work(store: Store, name: String, mut kept: Kept) {
    while let Some(lease) = held(&mut kept).await {
        match piece(&store, &name, &lease).await {
            Ok(()) | Err(CommitError::Conflict) => {}
            Err(error) => println!("{name}: {error}"),
        }
        sleep(PAUSE).await;
    }
}

/// One piece of work. It asserts the lease, and what it goes on from: a commit that fails may still have been applied.
async fn piece(store: &Store, name: &str, lease: &Held) -> Result<(), CommitError> {
    let view = store.view().await?;
    let done = view.get(&DONE, name).await?;
    let next = done.unwrap_or(0);
    let mut batch = Batch::new();
    lease.assert(&mut batch);
    batch.assert_unchanged(&DONE, name, done);
    batch.put(&DONE, name, next + 1);
    batch.add(&EFFECTS, (name, next), 1);
    batch.append(&WORK, (name, lease.epoch().0, SystemClock.now().0));
    store.commit(batch).await?;
    Ok(())
}
