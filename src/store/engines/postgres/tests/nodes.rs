//! Several nodes over one store: what one does, another hears of and can take over; a store that moves here and back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::{cluster, open_at};
use crate::{
    Engine, Hint, Hints, MemoryHints, Position, Replay, Store, Topic,
    engines::rocksdb,
    leases::tests as leases,
    migrate,
    suite::{INDEX, LOG, RECORDS, batch},
};

struct Node {
    store: Store,
    hints: Arc<MemoryHints>,
    _replay: Replay,
}

/// A node whose hints reach nobody else, as when Redis is gone.
async fn node(url: &str) -> Node {
    let engine: Arc<dyn Engine> = open_at(url).await;
    let hints = Arc::new(MemoryHints::new(|| 0));
    Node {
        store: Store::new(engine.clone(), hints.clone()),
        _replay: Replay::start(engine, hints.clone()),
        hints,
    }
}

async fn say(store: &Store, room: &str) -> Position {
    let write = batch(|b| {
        b.append(&LOG, room);
        b.wake(Topic::new('r', room));
        b.wake(Topic::new('u', "@é:h"));
    });
    store.commit(write).await.unwrap().last()
}

/// A hint that never came is made good from the store, once, and one that came is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn lost_hints_are_made_good() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (one, two) = (node(&url).await, node(&url).await);
    let (mut here, mut there) = (one.hints.subscribe(), two.hints.subscribe());
    // Until the other has begun to look: what was before is nothing to it.
    loop {
        say(&one.store, "begin").await;
        if timeout(Duration::from_millis(100), there.recv())
            .await
            .is_ok()
        {
            break;
        }
    }
    let position = say(&one.store, "a").await;
    let hint = loop {
        let hint = there.recv().await.unwrap();
        if hint.position == position {
            break hint;
        }
    };
    assert_eq!(
        &*hint.topics,
        [Topic::new('r', "a"), Topic::new('u', "@é:h")]
    );
    // One that Redis brought in time is not passed on again: the next that is heard is the one after it.
    let brought = say(&one.store, "brought").await;
    two.hints.pass_on(Hint {
        topics: [Topic::new('r', "brought"), Topic::new('u', "@é:h")].into(),
        position: brought,
    });
    assert_eq!(there.recv().await.unwrap().position, brought);
    let last = say(&one.store, "last").await;
    assert_eq!(there.recv().await.unwrap().position, last);
    // Nor does the node that wrote hear anything twice.
    let mut heard = Vec::new();
    while let Ok(hint) = here.try_recv() {
        heard.push(hint.position);
    }
    let before = heard.len();
    heard.dedup();
    assert_eq!((heard.len(), heard.last()), (before, Some(&last)));
}

/// A lease passes from a dead node to a living one, and the dead one's batches are refused from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_lease_is_taken_over() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (one, two) = (node(&url).await, node(&url).await);
    leases::the_dead_are_replaced([one.store, two.store]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_spread_over_nodes_and_handed_on() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (one, two) = (node(&url).await, node(&url).await);
    leases::work_is_spread_and_handed_on([one.store, two.store]).await;
}

/// From a folder to PostgreSQL and back: everything is the same, also where the log is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_here_and_back() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let folder = |name: &tempfile::TempDir| {
        let engine = rocksdb::open(rocksdb::Options::at(name.path())).unwrap();
        Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
    };
    let (old, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (folder(&old), folder(&back));
    let large = Bytes::from(vec![7; 300_000]);
    for n in 0..600u64 {
        let write = batch(|b| {
            b.append(&LOG, "entry");
            b.append(&LOG, "entry");
            b.put(&INDEX, ("\0n", n), "x");
            if n % 50 == 0 {
                b.put(&RECORDS, format!("{n}"), large.clone());
            }
        });
        from.commit(write).await.unwrap();
    }
    let middle = node(&cluster.database().await).await.store;
    let there = migrate::copy(&from, &middle, &mut |_| ()).await.unwrap();
    assert_eq!((there.records, there.position), (1812, Position(1200)));
    let again = migrate::copy(&middle, &to, &mut |_| ()).await.unwrap();
    assert_eq!(again, there);
    assert_eq!(say(&to, "next").await, Position(1201));
    assert_eq!(say(&middle, "next").await, Position(1201));
}
