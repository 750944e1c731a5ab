//! Reading and writing records: what was put comes back, ranges are half open, views stay still.

use bytes::Bytes;

use super::{COUNTERS, IMMUTABLE, INDEX, LOG, RECORDS, Subject, batch, content};
use crate::{Direction, Position, Store, View};

/// Values come back as they were put, in every family, of any size; a deleted one does not.
pub(crate) async fn round_trips<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let large = Bytes::from(vec![7; 300_000]);
    let write = batch(|b| {
        b.put(&RECORDS, "empty", Bytes::new());
        b.put(&RECORDS, "", Bytes::from_static(b"of the empty name"));
        b.put(&RECORDS, "a\0b", Bytes::from_static(b"of a name with NUL"));
        b.put(&RECORDS, "large", large.clone());
        b.put(&RECORDS, "gone", Bytes::from_static(b"?"));
        b.put(&IMMUTABLE, [0xFF; 16], Bytes::from_static(b"last"));
        b.put(&INDEX, ("i", u64::MAX), "end");
        // A later write to the same key wins.
        b.delete(&RECORDS, "gone");
        b.put(&RECORDS, "twice", Bytes::from_static(b"1"));
        b.put(&RECORDS, "twice", Bytes::from_static(b"2"));
    });
    store.commit(write).await.unwrap();
    check_round_trips(&store.view().await.unwrap(), &large).await;
    let subject = subject.reopened().await;
    check_round_trips(&subject.store().view().await.unwrap(), &large).await;
    subject
}

async fn check_round_trips(view: &View, large: &Bytes) {
    let names = [
        "empty", "none", "large", "", "a\0b", "gone", "twice", "empty",
    ];
    let expected = [
        Some(Bytes::new()),
        None,
        Some(large.clone()),
        Some(Bytes::from_static(b"of the empty name")),
        Some(Bytes::from_static(b"of a name with NUL")),
        None,
        Some(Bytes::from_static(b"2")),
        Some(Bytes::new()),
    ];
    for (name, expected) in names.iter().zip(&expected) {
        assert_eq!(&view.get(&RECORDS, name).await.unwrap(), expected);
        assert_eq!(&view.get_bytes(&RECORDS, name).await.unwrap(), expected);
    }
    assert_eq!(view.get_many(&RECORDS, names).await.unwrap(), expected);
    let none: [&str; 0] = [];
    assert!(view.get_many(&RECORDS, none).await.unwrap().is_empty());
    assert_eq!(
        view.get(&IMMUTABLE, [0xFF; 16]).await.unwrap().unwrap(),
        "last"
    );
    assert_eq!(
        view.get(&INDEX, ("i", u64::MAX)).await.unwrap().unwrap(),
        "end"
    );
    assert_eq!(view.get(&INDEX, ("i", 0u64)).await.unwrap(), None);
}

/// Many keys at once come back in their order, from memory and from the disk.
pub(crate) async fn many_at_once<S: Subject>(subject: S) -> S {
    let write = batch(|b| {
        for n in 0..2000u64 {
            b.put(&INDEX, ("m", n), format!("value {n}").as_str());
        }
    });
    subject.store().commit(write).await.unwrap();
    let keys: Vec<(&str, u64)> = (0..2500u64).rev().map(|n| ("m", n)).collect();
    let expected: Vec<Option<String>> = keys
        .iter()
        .map(|(_, n)| (*n < 2000).then(|| format!("value {n}")))
        .collect();
    let view = subject.store().view().await.unwrap();
    assert_eq!(view.get_many(&INDEX, &keys).await.unwrap(), expected);
    drop(view);
    let subject = subject.reopened().await;
    let view = subject.store().view().await.unwrap();
    assert_eq!(view.get_many(&INDEX, &keys).await.unwrap(), expected);
    drop(view);
    subject
}

async fn fill(store: &Store) {
    let write = batch(|b| {
        for room in ["a", "b", "c"] {
            for n in 1..=5u64 {
                b.put(&INDEX, (room, n), format!("{room}{n}").as_str());
            }
        }
    });
    store.commit(write).await.unwrap();
}

async fn scan(
    view: &View,
    low: (&str, u64),
    high: (&str, u64),
    way: Direction,
    limit: usize,
) -> String {
    let found = view.scan(&INDEX, low..high, way, limit).await.unwrap();
    let values: Vec<String> = found.into_iter().map(|(_, value)| value).collect();
    values.join(" ")
}

/// A range holds its low end and not its high one, whichever way it is scanned; the limit counts from where it starts.
pub(crate) async fn ranges_are_half_open<S: Subject>(subject: S) -> S {
    use Direction::{Backward, Forward};
    fill(&subject.store()).await;
    // Once from memory, once from the disk.
    let mut subject = subject;
    for _ in 0..2 {
        let view = subject.store().view().await.unwrap();
        let v = &view;
        assert_eq!(scan(v, ("b", 2), ("b", 5), Forward, 9).await, "b2 b3 b4");
        assert_eq!(scan(v, ("b", 2), ("b", 5), Backward, 9).await, "b4 b3 b2");
        assert_eq!(scan(v, ("b", 2), ("b", 5), Forward, 2).await, "b2 b3");
        assert_eq!(scan(v, ("b", 2), ("b", 5), Backward, 2).await, "b4 b3");
        assert_eq!(scan(v, ("b", 0), ("b", 99), Backward, 1).await, "b5");
        assert_eq!(scan(v, ("a", 5), ("b", 2), Forward, 9).await, "a5 b1");
        assert_eq!(scan(v, ("b", 5), ("b", 2), Forward, 9).await, "");
        assert_eq!(scan(v, ("b", 2), ("b", 2), Backward, 9).await, "");
        assert_eq!(scan(v, ("b", 2), ("b", 5), Forward, 0).await, "");
        let rooms = view.scan_prefix(&INDEX, ("b",), Forward, 9).await.unwrap();
        assert_eq!(rooms.len(), 5);
        let all = view.scan_prefix(&INDEX, (), Backward, 99).await.unwrap();
        assert_eq!(all.len(), 15);
        assert_eq!(all[0].1, "c5");
        drop(view);
        subject = subject.reopened().await;
    }
    subject
}

/// Whatever is written later, a view shows what was there when it was taken.
pub(crate) async fn views_stay_still<S: Subject>(subject: S) -> S {
    let store = subject.store();
    fill(&store).await;
    let first = batch(|b| {
        b.append(&LOG, "one");
    });
    store.commit(first).await.unwrap();
    let before = store.view().await.unwrap();
    let change = batch(|b| {
        b.put(&INDEX, ("b", 1u64), "changed");
        b.delete(&INDEX, ("b", 2u64));
        b.put(&INDEX, ("b", 6u64), "new");
        b.append(&LOG, "two");
    });
    store.commit(change).await.unwrap();
    store.delete_prefix(&INDEX, ("a",)).await.unwrap();
    let after = store.view().await.unwrap();
    let all =
        |view: View| async move { scan(&view, ("", 0), ("z", 0), Direction::Forward, 99).await };
    assert_eq!(
        all(before.clone()).await,
        "a1 a2 a3 a4 a5 b1 b2 b3 b4 b5 c1 c2 c3 c4 c5"
    );
    assert_eq!(
        all(after.clone()).await,
        "changed b3 b4 b5 new c1 c2 c3 c4 c5"
    );
    assert_eq!(before.position(), Position(1));
    assert_eq!(after.position(), Position(2));
    assert_eq!(before.get(&LOG, Position(2)).await.unwrap(), None);
    assert_eq!(after.get(&LOG, Position(2)).await.unwrap().unwrap(), "two");
    subject
}

/// A range is removed without its high end, and without its neighbours in other tables.
pub(crate) async fn ranges_are_removed<S: Subject>(subject: S) -> S {
    let store = subject.store();
    fill(&store).await;
    let neighbours = batch(|b| {
        b.put(&RECORDS, "b", Bytes::from_static(b"stays"));
        b.put(&IMMUTABLE, [b'b'; 16], Bytes::from_static(b"stays"));
    });
    store.commit(neighbours).await.unwrap();
    let range = crate::codec::encode(&("b", 2u64))..crate::codec::encode(&("b", 4u64));
    let engine = subject.engine();
    engine
        .delete_range(INDEX.id(), range.clone())
        .await
        .unwrap();
    // The wrong way round is nothing.
    engine
        .delete_range(INDEX.id(), range.end..range.start)
        .await
        .unwrap();
    store.delete_prefix(&INDEX, ("c",)).await.unwrap();
    let view = store.view().await.unwrap();
    let left = "a1 a2 a3 a4 a5 b1 b4 b5";
    let way = Direction::Forward;
    assert_eq!(scan(&view, ("", 0), ("z", 0), way, 99).await, left);
    drop((view, engine, store));
    let subject = subject.reopened().await;
    let view = subject.store().view().await.unwrap();
    assert_eq!(scan(&view, ("", 0), ("z", 0), way, 99).await, left);
    assert_eq!(content(&subject).await.len(), 10);
    // What was removed can be put again.
    fill(&subject.store()).await;
    assert_eq!(content(&subject).await.len(), 17);
    drop(view);
    subject
}

/// Keys of any length are found, scanned page by page, asserted, counted on and removed.
pub(crate) async fn long_keys<S: Subject>(subject: S) -> S {
    let store = subject.store();
    // Around the lengths at which an engine may begin to keep keys in another way.
    let lengths = [
        1, 1900, 1967, 1968, 1969, 1970, 1999, 2000, 2001, 2700, 60_000,
    ];
    let name = |length: usize| "n".repeat(length);
    let write = batch(|b| {
        for length in lengths {
            b.assert_absent(&RECORDS, name(length));
            b.put(&RECORDS, name(length), Bytes::from(length.to_string()));
            b.put(&INDEX, (name(length), 7u64), length.to_string().as_str());
            b.add(&COUNTERS, name(length), 2);
        }
        // One that differs in its last letter alone.
        b.put(&RECORDS, name(59_999) + "o", Bytes::from_static(b"other"));
    });
    store.commit(write).await.unwrap();
    let again = batch(|b| {
        for length in lengths {
            let value = Bytes::from(length.to_string());
            b.assert_equals(&RECORDS, name(length), value);
            b.add(&COUNTERS, name(length), 1);
        }
    });
    store.commit(again).await.unwrap();
    let view = store.view().await.unwrap();
    let expected = lengths.map(|length| Some(Bytes::from(length.to_string())));
    let names = lengths.map(name);
    assert_eq!(view.get_many(&RECORDS, &names).await.unwrap(), expected);
    for (name, expected) in names.iter().zip(expected) {
        assert_eq!(view.get(&RECORDS, name).await.unwrap(), expected);
        assert_eq!(view.get(&COUNTERS, name).await.unwrap(), Some(3));
    }
    assert_eq!(view.get(&RECORDS, name(2002)).await.unwrap(), None);
    for way in [Direction::Forward, Direction::Backward] {
        let all = view.scan_prefix(&INDEX, (), way, 99).await.unwrap();
        let mut found: Vec<usize> = all.iter().map(|((name, _), _)| name.len()).collect();
        if way == Direction::Backward {
            found.reverse();
        }
        assert_eq!(found, lengths);
        // A part of them, between long ends and from a long beginning.
        let range = (name(1969), 0u64)..(name(2001), 0u64);
        let some = view.scan(&INDEX, range, way, 99).await.unwrap();
        assert_eq!(some.len(), 4);
        let one = view
            .scan_prefix(&INDEX, (name(2700),), way, 99)
            .await
            .unwrap();
        assert_eq!(one.len(), 1);
    }
    // Page by page, each from right after the last key of the one before.
    let (mut low, mut found) = (Vec::new(), Vec::new());
    let raw = subject.engine().view().await.unwrap();
    loop {
        let way = Direction::Forward;
        let page = raw
            .scan(RECORDS.id(), low..vec![0xFF; 8], way, 1)
            .await
            .unwrap();
        let Some((key, _)) = page.into_iter().next() else {
            break;
        };
        low = [&key[..], &[0]].concat();
        found.push(key);
    }
    assert_eq!(found.len(), lengths.len() + 1);
    assert!(found.is_sorted());
    let write = batch(|b| {
        for length in lengths {
            b.delete(&RECORDS, name(length));
        }
    });
    store.commit(write).await.unwrap();
    let view = store.view().await.unwrap();
    let left = view
        .scan_prefix(&RECORDS, (), Direction::Forward, 99)
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1, "other");
    drop((view, raw, store));
    subject
}
