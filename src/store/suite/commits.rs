//! Commits: whole or not at all, under assertions, in a total order, with positions and additions.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{COUNTERS, LOG, MOMENTS, RECORDS, Subject, batch};
use crate::{
    Batch, CommitError, Direction, Hints, MemoryHints, Position, Store, Topic, batch::Committed,
};

fn word(word: &'static str) -> Bytes {
    Bytes::from_static(word.as_bytes())
}

async fn get(store: &Store, name: &str) -> Option<Bytes> {
    let view = store.view().await.unwrap();
    view.get(&RECORDS, name).await.unwrap()
}

async fn counter(store: &Store, name: &str) -> Option<i64> {
    let view = store.view().await.unwrap();
    view.get(&COUNTERS, name).await.unwrap()
}

/// A batch whose assertion does not hold changes nothing and uses up no position.
pub(crate) async fn all_or_nothing<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let first = batch(|b| {
        // Asserted of the store as it was before the batch.
        b.assert_absent(&RECORDS, "a");
        b.put(&RECORDS, "a", word("1"));
        b.append(&LOG, "first");
    });
    store.commit(first).await.unwrap();
    let refused: [fn(&mut Batch); 5] = [
        |b| b.assert_absent(&RECORDS, "a"),
        |b| b.assert_equals(&RECORDS, "a", word("2")),
        |b| b.assert_equals(&RECORDS, "absent", word("")),
        |b| b.assert_unchanged(&RECORDS, "a", None::<Bytes>),
        |b| {
            b.assert_equals(&RECORDS, "a", word("1"));
            b.assert_equals(&COUNTERS, "c", 1i64);
        },
    ];
    for assert in refused {
        let write = batch(|b| {
            b.put(&RECORDS, "b", word("half"));
            b.add(&COUNTERS, "n", 1);
            b.delete(&RECORDS, "a");
            b.append(&LOG, "half");
            assert(b);
        });
        let refusal = store.commit(write).await;
        assert!(matches!(refusal, Err(CommitError::Conflict)), "{refusal:?}");
    }
    assert_eq!(get(&store, "a").await, Some(word("1")));
    assert_eq!(get(&store, "b").await, None);
    assert_eq!(counter(&store, "n").await, None);
    let last = batch(|b| {
        b.assert_unchanged(&RECORDS, "a", Some(word("1")));
        b.assert_unchanged(&RECORDS, "b", None::<Bytes>);
        b.append(&LOG, "second");
    });
    let committed = store.commit(last).await.unwrap();
    assert_eq!(committed.first, Position(2));
    subject
}

/// Positions that the commit assigns stand in keys and values, in the order in which they were asked for.
pub(crate) async fn pending_positions<S: Subject>(subject: S) -> S {
    let store = subject.store();
    // Without a position: the head stays, and is what the commit reports.
    let none = batch(|b| b.put(&RECORDS, "a", word("1")));
    let committed = store.commit(none).await.unwrap();
    let zero = Position::ZERO;
    assert_eq!((committed.first, committed.count), (zero, 0));
    for round in 0..3u64 {
        let mut write = Batch::new();
        let (one, two) = (write.position(), write.position());
        write.put(&MOMENTS, ("room", two), (one, Position(42)));
        let three = write.append(&LOG, "three");
        write.put(&MOMENTS, ("room", one), (three, two));
        let committed = store.commit(write).await.unwrap();
        let at = |n: u64| Position(round * 3 + n);
        assert_eq!((committed.first, committed.count), (at(1), 3));
        assert_eq!(committed.last(), at(3));
        assert_eq!(
            [one, two, three, Position(9)].map(|p| committed.resolve(p)),
            [at(1), at(2), at(3), Position(9)]
        );
        let view = store.view().await.unwrap();
        assert_eq!(view.position(), at(3));
        let low = ("room", at(1));
        let found = view
            .scan(
                &MOMENTS,
                low..("room", Position::MAX),
                Direction::Forward,
                9,
            )
            .await
            .unwrap();
        let room = "room".to_owned();
        let expected = [
            ((room.clone(), at(1)), (at(3), at(2))),
            ((room, at(2)), (at(1), Position(42))),
        ];
        assert_eq!(found, expected);
    }
    // Of no batch but its own.
    let foreign = Batch::new().position();
    let wrong = batch(|b| b.put(&MOMENTS, ("room", foreign), (zero, zero)));
    assert!(store.commit(wrong).await.is_err());
    assert_eq!(store.view().await.unwrap().position(), Position(9));
    subject
}

/// Merged batches are one: both sets of assertions, positions one after the other, each topic once.
pub(crate) async fn merged_batches<S: Subject>(subject: S) -> S {
    let hints = Arc::new(MemoryHints::new(|| 0));
    let store = Store::new(subject.engine(), hints.clone());
    let mut heard = hints.subscribe();
    let part = |name: &'static str, topic: &str| {
        batch(|b| {
            b.assert_absent(&RECORDS, name);
            b.put(&RECORDS, name, word(name));
            let position = b.append(&LOG, name);
            b.put(&MOMENTS, (name, position), (position, Position::ZERO));
            b.wake(Topic::new('r', topic));
            b.wake(Topic::new('u', "everybody"));
        })
    };
    let mut whole = part("a", "one");
    whole.merge(part("b", "two"));
    whole.merge(part("c", "one"));
    let committed = store.commit(whole).await.unwrap();
    assert_eq!(
        committed,
        Committed {
            first: Position(1),
            count: 3
        }
    );
    let view = store.view().await.unwrap();
    for (n, name) in (1..).zip(["a", "b", "c"]) {
        let at = Position(n);
        assert_eq!(view.get(&LOG, at).await.unwrap().unwrap(), name);
        let moment = view.get(&MOMENTS, (name, at)).await.unwrap();
        assert_eq!(moment, Some((at, Position::ZERO)));
    }
    let hint = heard.try_recv().unwrap();
    assert_eq!(hint.topics.len(), 3);
    assert_eq!(hint.position, Position(3));
    let mut refused = part("d", "one");
    refused.merge(part("b", "one"));
    let refusal = store.commit(refused).await;
    assert!(matches!(refusal, Err(CommitError::Conflict)));
    assert_eq!(get(&store, "d").await, None);
    // Nobody is woken for what did not happen.
    assert!(heard.try_recv().is_err());
    subject
}

/// Additions see what their batch did before, and those of many writers add up without a conflict.
pub(crate) async fn additions_commute<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let write = batch(|b| {
        b.add(&COUNTERS, "new", 2);
        b.add(&COUNTERS, "new", -5);
        b.put(&COUNTERS, "put", 10i64);
        b.add(&COUNTERS, "put", 1);
        b.add(&COUNTERS, "deleted", 7);
        b.delete(&COUNTERS, "deleted");
        b.add(&COUNTERS, "deleted", 1);
        b.add(&COUNTERS, "set", 7);
        b.put(&COUNTERS, "set", 3i64);
    });
    store.commit(write).await.unwrap();
    for (name, sum) in [("new", -3), ("put", 11), ("deleted", 1), ("set", 3)] {
        assert_eq!(counter(&store, name).await, Some(sum), "{name}");
    }
    let mut writers = JoinSet::new();
    for writer in 0..16i64 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..20 {
                let sign = if (writer + n) % 2 == 0 { 3 } else { -1 };
                let write = batch(|b| {
                    b.add(&COUNTERS, "shared", sign);
                    b.add(&COUNTERS, format!("own {writer}"), 1);
                });
                store.commit(write).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(counter(&store, "shared").await, Some(160 * 3 - 160));
    assert_eq!(counter(&store, "own 7").await, Some(20));
    // A record that is no counter is an alarm, and the rest of the batch is not applied.
    let wrong = batch(|b| {
        b.put(&RECORDS, "text", word("not eight bytes"));
        b.put(&RECORDS, "before", word("x"));
    });
    store.commit(wrong).await.unwrap();
    let text: crate::Table<String, i64> =
        crate::Table::new(RECORDS.id().number, "as counters", RECORDS.id().family);
    let wrong = batch(|b| {
        b.delete(&RECORDS, "before");
        b.add(&text, "text", 1);
    });
    assert!(matches!(
        store.commit(wrong).await,
        Err(CommitError::Failed(crate::Error::Corrupt(_)))
    ));
    assert_eq!(get(&store, "before").await, Some(word("x")));
    subject
}

/// Writers that plan again on each conflict, a bounded number of times, lose no increment.
pub(crate) async fn conflicts_under_contention<S: Subject>(subject: S) -> S {
    const WRITERS: i64 = 8;
    const TIMES: i64 = 20;
    let store = subject.store();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut conflicts = 0u32;
            for _ in 0..TIMES {
                while !increment(&store).await {
                    conflicts += 1;
                    // In each round of conflicts somebody wins: nobody can lose more often than there are increments.
                    assert!(i64::from(conflicts) <= WRITERS * TIMES, "not bounded");
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(counter(&store, "n").await, Some(WRITERS * TIMES));
    let view = store.view().await.unwrap();
    assert_eq!(view.position().0, u64::try_from(WRITERS * TIMES).unwrap());
    subject
}

/// One attempt to read, and to write one more; false on a conflict.
async fn increment(store: &Store) -> bool {
    let view = store.view().await.unwrap();
    let seen = view.get(&COUNTERS, "n").await.unwrap();
    let write = batch(|b| {
        b.assert_unchanged(&COUNTERS, "n", seen);
        b.put(&COUNTERS, "n", seen.unwrap_or(0) + 1);
        b.append(&LOG, "incremented");
    });
    match store.commit(write).await {
        Ok(_) => true,
        Err(CommitError::Conflict) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Of all who assert that a name is free, one gets it.
pub(crate) async fn one_winner<S: Subject>(subject: S) -> S {
    let store = subject.store();
    for round in 0..20 {
        let name = format!("name {round}");
        let mut writers = JoinSet::new();
        for writer in 0..16u8 {
            let (store, name) = (store.clone(), name.clone());
            writers.spawn(async move {
                let write = batch(|b| {
                    b.assert_absent(&RECORDS, name.as_str());
                    b.put(&RECORDS, name.as_str(), Bytes::from(vec![writer]));
                });
                (writer, store.commit(write).await)
            });
        }
        let mut winners = Vec::new();
        for (writer, outcome) in writers.join_all().await {
            match outcome {
                Ok(_) => winners.push(writer),
                Err(CommitError::Conflict) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(get(&store, &name).await.unwrap(), winners);
    }
    subject
}
