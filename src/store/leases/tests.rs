#![allow(clippy::unwrap_used, clippy::panic)]

use tempfile::TempDir;

use super::*;
use crate::{
    CommitError, MemoryHints,
    engines::rocksdb::{self, Options},
    suite::{COUNTERS, batch},
};

const QUICK: Tempo = Tempo {
    beat: Duration::from_millis(40),
    look: Duration::from_millis(20),
    patience: Duration::from_millis(400),
};

fn store(folder: &TempDir) -> Store {
    let engine = rocksdb::open(Options::at(folder.path())).unwrap();
    Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
}

/// A node that lives faster than usual, and has others beside it whatever the engine.
pub(crate) fn node(store: &Store, id: u8) -> Leases {
    let node = NodeId([id; 8]);
    Leases::begin(store.clone(), node, About::default(), (true, QUICK))
}

async fn write(store: &Store, held: &Held) -> bool {
    let write = batch(|b| {
        held.assert(b);
        b.add(&COUNTERS, "work", 1);
    });
    match store.commit(write).await {
        Ok(_) => true,
        Err(CommitError::Conflict) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn living(store: &Store) -> Vec<Member> {
    members(&store.view().await.unwrap()).await.unwrap()
}

/// Waits until `is_so` of what is stored.
async fn until(store: &Store, is_so: impl Fn(&[Member]) -> bool) -> Vec<Member> {
    loop {
        let members = living(store).await;
        if is_so(&members) {
            return members;
        }
        tokio::task::yield_now().await;
    }
}

/// Two nodes, each over its own engine or both over one: what dies is replaced, and writes nothing any more.
pub(crate) async fn the_dead_are_replaced(stores: [Store; 2]) {
    let [one, two] = &stores;
    let first = node(one, 1);
    let mut kept = first.keep("tail");
    let held_first = held(&mut kept).await.unwrap();
    assert!(write(one, &held_first).await);
    let second = node(two, 2);
    let mut kept = second.keep("tail");
    until(two, |members| members.len() == 2).await;
    assert!(kept.borrow().is_none(), "the first one lives");
    assert!(write(one, &held_first).await);
    // Dead without a word.
    drop(first);
    let taken = held(&mut kept).await.unwrap();
    assert!(taken.epoch() > held_first.epoch());
    assert!(write(two, &taken).await);
    assert!(!write(one, &held_first).await, "the dead write nothing");
    let members = living(two).await;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].leases, [("tail".to_owned(), taken.epoch())]);
}

/// What one node has is shared with a second one, and all of it is the second one's once the first leaves.
pub(crate) async fn work_is_spread_and_handed_on(stores: [Store; 2]) {
    let [one, two] = &stores;
    let names = ["a", "b", "c", "d", "e", "f"];
    let first = node(one, 1);
    let mut kept: Vec<Kept> = names.iter().map(|name| first.keep(name)).collect();
    for kept in &mut kept {
        held(kept).await.unwrap();
    }
    let second = node(two, 2);
    let mut others: Vec<Kept> = names.iter().map(|name| second.keep(name)).collect();
    let spread = |members: &[Member]| {
        members.len() == 2 && members.iter().all(|member| member.leases.len() == 3)
    };
    until(two, spread).await;
    first.leave().await;
    assert!(kept.iter().all(|kept| kept.borrow().is_none()));
    for kept in &mut others {
        let held = held(kept).await.unwrap();
        assert!(write(two, &held).await);
    }
    second.leave().await;
    assert!(living(two).await.is_empty());
}

#[tokio::test]
async fn the_dead_are_replaced_over_one_engine() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    the_dead_are_replaced([store.clone(), store]).await;
}

#[tokio::test]
async fn work_is_spread_and_handed_on_over_one_engine() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    work_is_spread_and_handed_on([store.clone(), store]).await;
}

#[tokio::test]
async fn of_many_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let nodes: Vec<Leases> = (0..10).map(|id| node(&store, id)).collect();
    let mut kept: Vec<Kept> = nodes.iter().map(|node| node.keep("tail")).collect();
    let states = kept.iter_mut().map(|kept| Box::pin(held(kept)));
    let (first, ..) = futures_util::future::select_all(states).await;
    assert!(write(&store, &first.unwrap()).await);
    until(&store, |members| members.len() == 10).await;
    let holders = kept.iter().filter(|kept| kept.borrow().is_some());
    assert_eq!(holders.count(), 1);
}

/// A process that has its store for itself takes over what its predecessor held, at once, and writes no beats.
#[tokio::test]
async fn one_that_is_alone_takes_everything_and_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let join = |id| Leases::join(store.clone(), NodeId([id; 8]), About::default());
    let first = join(1).await.unwrap();
    let mut kept = first.keep("tail");
    let before = held(&mut kept).await.unwrap();
    drop(first);
    let second = join(2).await.unwrap();
    let mut kept = second.keep("tail");
    let after = held(&mut kept).await.unwrap();
    assert!(after.epoch() > before.epoch());
    assert_eq!(living(&store).await.len(), 1);
    let beat = || async {
        let view = store.view().await.unwrap();
        view.get(&roster::BEATS, [2; 8]).await.unwrap()
    };
    let first = beat().await;
    let mut later = second.keep("other");
    held(&mut later).await.unwrap();
    // Once for the lease that was added, and not with time.
    assert_eq!(beat().await, first.map(|beat| beat + 1));
}
