#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use hearth_base::{Rng as _, SeededRng};
use hearth_rooms::Act;
use hearth_store::{Batch, Hint, Position, Topic};

use super::Woken;
use crate::tests::{House, user};

/// Long enough to be told from a wake that was not missed.
const LONG: Duration = Duration::from_secs(60);

async fn hesitate(rng: &SeededRng) {
    for _ in 0..rng.number() % 8 {
        tokio::task::yield_now().await;
    }
}

/// The steps of a reader, and every place between them for a write that is committed and told of there.
#[tokio::test]
async fn a_write_between_any_two_steps_is_seen() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    for place in 0..3 {
        let seen = house.view().await.position();
        let write = async |here| {
            if here == place {
                house.say(&room, "bob", "news").await;
                settle(&house).await;
            }
        };
        write(0).await;
        let mut waiter = house.sync.notifier().register(&user("alice"));
        write(1).await;
        let mut saw = house.view().await.position() > seen;
        write(2).await;
        if !saw {
            assert_eq!(waiter.wait(LONG).await, Woken::Hint, "place {place}");
            saw = house.view().await.position() > seen;
        }
        assert!(saw, "place {place}");
    }
}

/// A reader registers, looks, and waits when there was nothing; a writer commits at any moment. Whatever the moment, the
/// reader sees what was written without its timer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_between_looking_and_waiting() {
    let house = Arc::new(House::open());
    let room = house.company(&["alice", "bob"]).await;
    for seed in 0..200 {
        let seen = house.view().await.position();
        let (writer, target) = (house.clone(), room.clone());
        let writing = tokio::spawn(async move {
            let rng = SeededRng::new(seed);
            hesitate(&rng).await;
            if rng.number().is_multiple_of(2) {
                writer.say(&target, "bob", "news").await;
            } else {
                let mut batch = Batch::new();
                let _position = batch.position();
                batch.wake(Topic::new('u', "@alice:home"));
                writer.store.commit(batch).await.unwrap();
            }
        });
        let rng = SeededRng::new(seed + 1_000_000);
        let mut waiter = house.sync.notifier().register(&user("alice"));
        loop {
            hesitate(&rng).await;
            if house.view().await.position() > seen {
                break;
            }
            hesitate(&rng).await;
            assert_eq!(waiter.wait(LONG).await, Woken::Hint, "seed {seed}");
        }
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn who_joins_is_woken_by_the_room_and_who_left_is_not() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let notifier = house.sync.notifier();
    let mut alice = notifier.register(&user("alice"));
    house.say(&room, "alice", "fills the cache").await;
    assert_eq!(alice.wait(LONG).await, Woken::Hint);
    house.act(&room, "carol", "carol", Act::Join).await;
    let mut carol = notifier.register(&user("carol"));
    house.say(&room, "alice", "for carol too").await;
    assert_eq!(carol.wait(LONG).await, Woken::Hint);

    house.act(&room, "bob", "bob", Act::Leave).await;
    settle(&house).await;
    let mut bob = notifier.register(&user("bob"));
    house.say(&room, "alice", "not for bob").await;
    settle(&house).await;
    assert_eq!(bob.wait(Duration::ZERO).await, Woken::Timer);
}

/// Waits until all hints so far were taken in.
async fn settle(house: &House) {
    let mut last = house.sync.notifier().register(&user("last"));
    house.store.hints().publish(Hint {
        topics: [Topic::new('u', "@last:home")].into(),
        position: Position::ZERO,
    });
    assert_eq!(last.wait(LONG).await, Woken::Hint);
}

#[tokio::test]
async fn lost_hints_wake_everybody() {
    let house = House::open();
    let mut stranger = house.sync.notifier().register(&user("stranger"));
    // Nobody takes them in before this task waits.
    for _ in 0..10_000 {
        house.store.hints().publish(Hint {
            topics: [Topic::new('u', "@somebody:home")].into(),
            position: Position::ZERO,
        });
    }
    assert_eq!(stranger.wait(LONG).await, Woken::Hint);
}

#[tokio::test]
async fn ten_thousand_wait_and_all_are_woken_and_forgotten() {
    let house = House::open();
    let room = house.company(&["alice"]).await;
    let notifier = house.sync.notifier().clone();
    let mut waiting = Vec::new();
    for _ in 0..10_000 {
        let mut waiter = notifier.register(&user("alice"));
        waiting.push(tokio::spawn(async move { waiter.wait(LONG).await }));
    }
    house.say(&room, "alice", "hello").await;
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), Woken::Hint);
    }
    assert!(notifier.0.waiting.lock().is_empty());
}

#[tokio::test]
async fn a_closed_notifier_lets_nobody_wait() {
    let house = House::open();
    let mut early = house.sync.notifier().register(&user("alice"));
    house.sync.close();
    assert_eq!(early.wait(LONG).await, Woken::Closing);
    let mut late = house.sync.notifier().register(&user("alice"));
    assert_eq!(late.wait(LONG).await, Woken::Closing);
}
