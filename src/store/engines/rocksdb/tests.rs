//! The engine under the suite, and what is RocksDB's alone: the disk that fills up, memory, the killed writer.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, sync::Arc};

use tempfile::TempDir;

use super::{Options, RocksEngine, open, restore};
use crate::{
    Engine, EngineView, Read,
    suite::{self, Subject, commits, durable, kill, log, order, records},
};

mod full;

/// An engine in a folder that is removed with it.
struct Rocks {
    engine: Arc<RocksEngine>,
    folder: TempDir,
}

impl Rocks {
    fn at(folder: TempDir) -> Self {
        let engine = open(Options::at(folder.path().join("store"))).unwrap();
        Self { engine, folder }
    }
}

impl Subject for Rocks {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    async fn reopened(self) -> Self {
        self.engine.close().await.unwrap();
        Self::at(self.folder)
    }

    async fn restored(from: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        restore(from, &folder.path().join("store")).unwrap();
        Self::at(folder)
    }

    async fn refuses_restore(&self, from: &Path) -> bool {
        restore(from, &self.folder.path().join("store")).is_err()
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.engine.counts().syncs)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn round_trips() {
    suite::run::<Rocks>(records::round_trips).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    suite::run::<Rocks>(records::many_at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_half_open() {
    suite::run::<Rocks>(records::ranges_are_half_open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_stay_still() {
    suite::run::<Rocks>(records::views_stay_still).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_removed() {
    suite::run::<Rocks>(records::ranges_are_removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_keys() {
    suite::run::<Rocks>(records::long_keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_are_in_order() {
    suite::run::<Rocks>(order::scans_are_in_order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing() {
    suite::run::<Rocks>(commits::all_or_nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_positions() {
    suite::run::<Rocks>(commits::pending_positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_batches() {
    suite::run::<Rocks>(commits::merged_batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_commute() {
    suite::run::<Rocks>(commits::additions_commute).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_under_contention() {
    suite::run::<Rocks>(commits::conflicts_under_contention).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner() {
    suite::run::<Rocks>(commits::one_winner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_never_skipped() {
    suite::run::<Rocks>(log::positions_are_never_skipped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_commits_share_syncs() {
    suite::run::<Rocks>(log::waiting_commits_share_syncs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_keeps_all() {
    suite::run::<Rocks>(durable::reopening_keeps_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_is_unavailable() {
    suite::run::<Rocks>(durable::closed_is_unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_while_writing() {
    suite::run::<Rocks>(durable::backup_while_writing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_is_equal() {
    suite::run::<Rocks>(durable::restore_is_equal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_writers_lose_nothing() {
    if let Some(path) = kill::place() {
        kill::child(open(Options::at(path)).unwrap()).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let test = "engines::rocksdb::tests::killed_writers_lose_nothing";
    kill::many_times(test, path.to_str().unwrap(), 1000, async || {
        open(Options::at(&path)).unwrap() as Arc<dyn Engine>
    })
    .await;
}

#[tokio::test]
async fn a_store_is_open_once() {
    let subject = Rocks::new().await;
    let second = open(Options::at(subject.folder.path().join("store")));
    assert!(matches!(second, Err(crate::Error::Unavailable(_))));
}

#[tokio::test]
async fn nothing_is_restored_from_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    assert!(restore(&from, &to).is_err());
    // Asking made neither.
    assert!(!from.exists() && !to.exists());
}

#[tokio::test]
async fn relaxed_does_not_sync() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::at(folder.path());
    options.relaxed = true;
    let engine = open(options).unwrap();
    let before = engine.counts().syncs;
    for n in 0..10u64 {
        let batch = suite::batch(|b| b.put(&suite::INDEX, ("n", n), ""));
        engine.commit(batch).await.unwrap();
    }
    assert_eq!(engine.counts().syncs, before);
    assert_eq!(engine.counts().commits, 10);
}

#[tokio::test]
async fn the_disk_is_read_by_the_readers_and_memory_in_place() {
    let subject = Rocks::new().await;
    let batch = suite::batch(|b| {
        for n in 0..1000u64 {
            b.put(&suite::INDEX, ("n", n), "value");
        }
    });
    subject.engine.commit(batch).await.unwrap();
    let table = suite::INDEX.id();
    let key = |n: u64| crate::codec::encode(&("n", n));
    let range = || key(0)..key(600);
    let way = crate::Direction::Forward;
    // The three ways to read. One that is not ready is under way already, and brings blocks in for the next.
    let ready = |view: &dyn EngineView, kind: usize| match kind {
        0 => matches!(view.get(table, &key(1)), Read::Ready(_)),
        1 => matches!(view.get_many(table, vec![key(2)]), Read::Ready(_)),
        _ => matches!(view.scan(table, range(), way, 500), Read::Ready(_)),
    };
    let all_ready = |view: &dyn EngineView| (0..3).all(|kind| ready(view, kind));
    // Just written: in the memtable.
    let Read::Ready(Some(view)) = subject.engine.view() else {
        panic!("the head of the log is in memory")
    };
    assert!(all_ready(&*view.unwrap()));
    let mut subject = subject;
    for kind in 0..3 {
        subject = subject.reopened().await;
        // Opening wrote the log out to files, none of whose blocks is cached yet.
        let view = subject.engine.view().await.unwrap();
        assert!(
            !ready(&*view, kind),
            "read {kind} went to the disk in place"
        );
    }
    let view = subject.engine.view().await.unwrap();
    let pairs = view.scan(table, range(), way, 1000).await.unwrap();
    assert_eq!(pairs.len(), 600);
    // Now they are cached.
    assert!(all_ready(&*view));
    drop(view);
    let Read::Ready(Some(view)) = subject.engine.view() else {
        panic!("the head of the log is cached")
    };
    drop(view);
}

#[tokio::test]
async fn a_dropped_engine_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20u64 {
        // Only one can have the files open.
        let engine = open(Options::at(folder.path())).unwrap();
        let batch = suite::batch(|b| b.put(&suite::INDEX, ("n", n), "value"));
        engine.commit(batch).await.unwrap();
    }
}
