//! What is committed stays: when the store is opened again, and in a backup that was made while it was written to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{COUNTERS, IMMUTABLE, INDEX, LOG, RECORDS, Subject, batch, content};
use crate::{CommitError, Direction, Error, Position, Store};

/// One batch over all families, which is there whole or not at all.
async fn write(store: &Store, n: u64) -> Position {
    let write = batch(|b| {
        let name = format!("{n}");
        b.put(&RECORDS, name.as_str(), Bytes::from(name.clone()));
        b.put(&INDEX, ("n", n), name.as_str());
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        b.put(&IMMUTABLE, key, Bytes::from(vec![1; 200]));
        b.add(&COUNTERS, "count", 1);
        b.append(&LOG, name.as_str());
    });
    store.commit(write).await.unwrap().last()
}

/// Everything is there after closing and opening, and the log goes on where it was.
pub(crate) async fn reopening_keeps_all<S: Subject>(mut subject: S) -> S {
    for round in 0..4 {
        let store = subject.store();
        for n in 0..50 {
            write(&store, round * 50 + n).await;
        }
        let before = content(&subject).await;
        drop(store);
        subject = subject.reopened().await;
        assert_eq!(content(&subject).await, before);
        let position = subject.store().view().await.unwrap().position();
        assert_eq!(position, Position((round + 1) * 50));
    }
    subject
}

/// After closing, reads and writes fail as unavailable; closing twice is no failure.
pub(crate) async fn closed_is_unavailable<S: Subject>(subject: S) -> S {
    let store = subject.store();
    write(&store, 1).await;
    let engine = subject.engine();
    engine.close().await.unwrap();
    engine.close().await.unwrap();
    let refusal = store.commit(batch(|b| b.put(&RECORDS, "a", Bytes::new())));
    assert!(matches!(
        refusal.await,
        Err(CommitError::Failed(Error::Unavailable(_)))
    ));
    assert!(matches!(store.view().await, Err(Error::Unavailable(_))));
    drop((engine, store));
    subject.reopened().await
}

/// A backup made while many write holds everything acknowledged before it began, and no half batch.
pub(crate) async fn backup_while_writing<S: Subject>(subject: S) -> S {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    let store = subject.store();
    for n in 0..200 {
        write(&store, n).await;
    }
    let (numbers, done) = (Arc::new(AtomicU64::new(200)), Arc::default());
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (store, numbers) = (store.clone(), numbers.clone());
        let done: Arc<AtomicBool> = Arc::clone(&done);
        writers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                write(&store, numbers.fetch_add(1, Ordering::SeqCst)).await;
            }
        });
    }
    let mut oldest = Vec::new();
    for _ in 0..3 {
        oldest.push(store.view().await.unwrap().position());
        subject.engine().backup(&target).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    writers.join_all().await;

    let copy = S::restored(&target).await;
    let restored = copy.store();
    let view = restored.view().await.unwrap();
    let position = view.position();
    assert!(position >= oldest[2], "{position} {oldest:?}");
    assert!(position <= store.view().await.unwrap().position());
    let log = view
        .scan_prefix(&LOG, (), Direction::Forward, usize::MAX)
        .await
        .unwrap();
    assert_eq!(u64::try_from(log.len()).unwrap(), position.0.min(10_000));
    let original = store.view().await.unwrap();
    for (at, name) in &log {
        assert_eq!(original.get(&LOG, at).await.unwrap().as_ref(), Some(name));
        let number = name.parse::<u64>().unwrap();
        assert!(view.get(&RECORDS, name).await.unwrap().is_some());
        assert!(view.get(&INDEX, ("n", number)).await.unwrap().is_some());
    }
    let count = view.get(&COUNTERS, "count").await.unwrap().unwrap();
    assert_eq!(u64::try_from(count).unwrap(), position.0);
    // Five records a batch, one of which all share: nothing without its batch.
    let records = content(&copy).await.len();
    assert_eq!(u64::try_from(records).unwrap(), 4 * position.0 + 1);
    // It is a store like any other.
    assert_eq!(write(&restored, u64::MAX).await, position.next());
    drop((view, restored));
    copy.engine().close().await.unwrap();
    drop(original);
    subject
}

/// A backup of a store at rest equals it; it is not restored over anything, nor from nowhere.
pub(crate) async fn restore_is_equal<S: Subject>(subject: S) -> S {
    let folder = tempfile::tempdir().unwrap();
    let store = subject.store();
    for n in 0..100 {
        write(&store, n).await;
    }
    store.delete_prefix(&INDEX, ("n",)).await.unwrap();
    subject.engine().backup(folder.path()).await.unwrap();
    let copy = S::restored(folder.path()).await;
    assert_eq!(content(&copy).await, content(&subject).await);
    assert!(copy.refuses_restore(folder.path()).await);
    assert_eq!(content(&copy).await, content(&subject).await);
    copy.engine().close().await.unwrap();
    // A folder with something else in it is left alone.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("letter"), "dear").unwrap();
    let refused = subject.engine().backup(other.path()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    subject
}
