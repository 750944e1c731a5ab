//! Encoded keys sort as what they encode: of the codec alone, and of an engine's scan.

use bytes::Bytes;
use proptest::prelude::*;

use super::{INDEX, Subject, batch};
use crate::{
    Direction, Position, SCAN_LIMIT,
    codec::{Part, ReadPart, decode, encode},
};

fn same<T: Part + ReadPart + Ord + std::fmt::Debug>(a: T, b: T) -> Result<(), TestCaseError> {
    let (x, y) = (encode(&a), encode(&b));
    prop_assert_eq!(a.cmp(&b), x.cmp(&y), "{:?} {:?}", a, b);
    prop_assert_eq!(decode::<T>(&x).unwrap(), a);
    Ok(())
}

/// Short strings of few letters: prefixes of each other, NUL and the highest letters among them.
fn text() -> impl Strategy<Value = String> {
    "[\\x00\\x01ab\\u{ff}\\u{10ffff}]{0,4}"
}

fn position() -> impl Strategy<Value = Position> {
    (0..=Position::MAX.0).prop_map(Position)
}

/// Numbers that differ in one byte as often as in all.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0u64..4, (0u64..4).prop_map(|n| n << 32)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn texts(a in text(), b in text()) {
        same(a, b)?;
    }

    #[test]
    fn pairs_of_texts(a in (text(), text()), b in (text(), text())) {
        same(a, b)?;
    }

    #[test]
    fn texts_and_numbers(a in (text(), number(), text()), b in (text(), number(), text())) {
        same(a, b)?;
    }

    #[test]
    fn positions_and_bytes(
        a in (position(), any::<u8>(), any::<[u8; 3]>()),
        b in (position(), any::<u8>(), any::<[u8; 3]>()),
    ) {
        same(a, b)?;
    }

    #[test]
    fn five_parts(
        a in (text(), any::<u32>(), text(), number(), text()),
        b in (text(), any::<u32>(), text(), number(), text()),
    ) {
        same(a, b)?;
    }

    #[test]
    fn broken_keys_are_corrupt_and_no_panic(bytes in proptest::collection::vec(0u8..3, 0..20)) {
        // Whether it decodes does not matter here.
        drop(decode::<(String, u64, String)>(&bytes));
        drop(decode::<(Position, [u8; 4], String)>(&bytes));
    }
}

#[test]
fn a_prefix_of_a_key_is_a_prefix_of_its_bytes() {
    let whole = encode(&("room", 7u64));
    assert!(whole.starts_with(&encode(&("room",))));
    assert!(!encode(&("rooms", 7u64)).starts_with(&encode(&("room",))));
    assert_eq!(encode(&Bytes::from_static(b"x")), b"x");
}

/// A scan finds keys in the order of the tuples, both ways, and never more than the limit of a view.
pub(crate) async fn scans_are_in_order<S: Subject>(subject: S) -> S {
    let store = subject.store();
    let count = u64::try_from(SCAN_LIMIT).unwrap() + 50;
    // Written in an order that is not that of the keys.
    let numbers: Vec<u64> = (0..count)
        .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect();
    for chunk in numbers.chunks(2000) {
        let write = batch(|b| {
            for number in chunk {
                b.put(&INDEX, ("z", *number), "");
            }
        });
        store.commit(write).await.unwrap();
    }
    let mut sorted = numbers;
    sorted.sort_unstable();
    let view = store.view().await.unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let expected: Vec<u64> = match direction {
            Direction::Forward => sorted.clone(),
            Direction::Backward => sorted.iter().rev().copied().collect(),
        };
        for limit in [0, 1, 511, 512, 513, 3000, SCAN_LIMIT, usize::MAX] {
            let found = view
                .scan_prefix(&INDEX, ("z",), direction, limit)
                .await
                .unwrap();
            let keys: Vec<u64> = found.into_iter().map(|((_, n), _)| n).collect();
            assert_eq!(keys, expected[..limit.min(SCAN_LIMIT)]);
        }
    }
    subject
}
