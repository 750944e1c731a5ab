//! The log: whoever sees a position sees everything at or below it; many waiting commits share one sync.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::JoinSet;

use super::{COUNTERS, INDEX, LOG, Subject, batch};
use crate::{Direction, Position, Store, View};

const WRITERS: u64 = 12;
const TIMES: u64 = 40;

/// While many append, readers see positions without gap and in order, nothing above the position of their view, and
/// each batch whole.
pub(crate) async fn positions_are_never_skipped<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (store, done) = (store.clone(), done.clone());
        readers.spawn(async move { follow(&store, &done).await });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut last = Position::ZERO;
            for n in 0..TIMES {
                let committed = append(&store, writer, n).await;
                assert!(committed > last, "positions of one writer go up");
                last = committed;
                // Whoever committed sees it.
                assert!(store.view().await.unwrap().position() >= committed);
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let total = store.view().await.unwrap().position();
    // One, two and three positions in turn.
    assert_eq!(
        total.0,
        WRITERS * (0..TIMES).map(|n| n % 3 + 1).sum::<u64>()
    );
    for seen in readers.join_all().await {
        assert_eq!(seen, total);
    }
    subject
}

/// Appends one to three entries in one batch; the last position.
async fn append(store: &Store, writer: u64, n: u64) -> Position {
    let write = batch(|b| {
        let entries = n % 3 + 1;
        for entry in 1..=entries {
            b.append(&LOG, format!("{writer} {n} {entry}/{entries}").as_str());
        }
        b.put(&INDEX, ("written", writer), n.to_string().as_str());
        b.add(&COUNTERS, "entries", i64::try_from(entries).unwrap());
    });
    store.commit(write).await.unwrap().last()
}

/// Reads the log as it grows, until all is written and read; where it ends.
async fn follow(store: &Store, done: &AtomicBool) -> Position {
    let mut seen = Position::ZERO;
    loop {
        // Before the view: what is written by then is in it.
        let ending = done.load(Ordering::SeqCst);
        let view = store.view().await.unwrap();
        assert!(view.position() >= seen, "positions go up");
        check(&view, seen).await;
        seen = view.position();
        if ending {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

async fn check(view: &View, seen: Position) {
    let news = view
        .scan(
            &LOG,
            seen.next()..Position::MAX,
            Direction::Forward,
            usize::MAX,
        )
        .await
        .unwrap();
    let positions: Vec<u64> = news.iter().map(|(position, _)| position.0).collect();
    let expected: Vec<u64> = (seen.0 + 1..=view.position().0).collect();
    assert_eq!(positions, expected, "no gap, and nothing beyond the view");
    // Batches follow each other whole: 1/3 2/3 3/3.
    let mut open = None;
    for (_, value) in &news {
        let (batch, part) = value.rsplit_once(' ').unwrap();
        let (entry, entries) = part.split_once('/').unwrap();
        match open {
            None => assert_eq!(entry, "1", "{value}"),
            Some(before) => assert_eq!(batch, before),
        }
        open = (entry != entries).then_some(batch);
    }
    assert_eq!(open, None, "half a batch");
    let entries = view.get(&COUNTERS, "entries").await.unwrap().unwrap_or(0);
    assert_eq!(u64::try_from(entries).unwrap(), view.position().0);
    // What each writer says it wrote last is in the log.
    let last = view
        .scan_prefix(&INDEX, ("written",), Direction::Forward, 99)
        .await
        .unwrap();
    for ((_, writer), n) in last {
        let found = news
            .iter()
            .any(|(_, value)| value.starts_with(&format!("{writer} {n} ")));
        assert!(found || seen > Position::ZERO);
    }
}

/// A commit alone is made durable by a sync of its own; many at once share syncs.
pub(crate) async fn waiting_commits_share_syncs<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let Some(start) = subject.syncs() else {
        return subject;
    };
    for n in 0..10u64 {
        append(&store, 0, n).await;
        // Returned, so synced. This is what survives a loss of power; that no sync is left out is all that a test
        // without a power switch can tell.
        assert!(subject.syncs().unwrap() > start + n);
    }
    let start = subject.syncs().unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..5 {
                append(&store, writer, n).await;
            }
        });
    }
    writers.join_all().await;
    let (commits, syncs) = (64 * 5, subject.syncs().unwrap() - start);
    assert!(syncs >= 5, "each writer waited for five: {syncs}");
    assert!(syncs < commits / 2, "{syncs} syncs for {commits} commits");
    subject
}
