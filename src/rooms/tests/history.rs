//! Pages, context, times.

use std::collections::BTreeSet;

use hearth_protocol::federation_json;
use hearth_store::Direction;
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, uint};

use super::{House, is_forbidden, receiving::Shared, user};
use crate::Place;

#[tokio::test]
async fn pages_show_each_event_once_in_both_directions() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    for number in 0..60 {
        house.say(&room, "alice", &number.to_string()).await;
    }
    let view = house.view().await;
    let alice = user("alice");
    for (direction, size) in [
        (Direction::Backward, 7),
        (Direction::Forward, 7),
        (Direction::Backward, 1000),
        (Direction::Forward, 1),
    ] {
        let mut seen: Vec<OwnedEventId> = Vec::new();
        let mut from: Option<Place> = None;
        loop {
            let page = house
                .rooms
                .page(&view, &alice, &room, (from, None), direction, size, |_| {
                    true
                })
                .await
                .unwrap();
            assert!(page.events.len() <= size);
            seen.extend(page.events.iter().map(|e| e.event_id().to_owned()));
            // The token survives its journey as text.
            match page.end {
                Some(end) => from = Some(end.to_string().parse().unwrap()),
                None => break,
            }
        }
        let all = house
            .rooms
            .timeline(
                &view,
                &room,
                hearth_store::Position::ZERO,
                view.position(),
                direction,
                1000,
            )
            .await
            .unwrap();
        let all: Vec<_> = all.iter().map(|e| e.event_id().to_owned()).collect();
        assert_eq!(seen, all);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    }
    let stranger = house
        .rooms
        .page(
            &view,
            &user("eve"),
            &room,
            (None, None),
            Direction::Backward,
            5,
            |_| true,
        )
        .await;
    assert!(is_forbidden(&stranger));
}

#[tokio::test]
async fn pages_pass_over_what_the_filter_refuses() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    for number in 0..40 {
        house.say(&room, "alice", &number.to_string()).await;
        if number % 20 == 0 {
            house.say(&room, "bob", "me too").await;
        }
    }
    let view = house.view().await;
    let page = house
        .rooms
        .page(
            &view,
            &user("alice"),
            &room,
            (None, None),
            Direction::Backward,
            10,
            |event| event.pdu.sender() == user("bob") && event.pdu.event_type() == "m.room.message",
        )
        .await
        .unwrap();
    assert_eq!((page.events.len(), page.end), (2, None));
}

#[tokio::test]
async fn context_surrounds_and_pages_go_on_from_it() {
    let house = House::open();
    let room = house.company(&["alice"]).await;
    let mut ids = Vec::new();
    for number in 0..9 {
        ids.push(house.say(&room, "alice", &number.to_string()).await);
    }
    let view = house.view().await;
    let alice = user("alice");
    let context = house
        .rooms
        .context(&view, &alice, &room, &ids[4], 4, |_| true)
        .await
        .unwrap();
    let names = |events: &[std::sync::Arc<crate::StoredEvent>]| -> Vec<OwnedEventId> {
        events.iter().map(|e| e.event_id().to_owned()).collect()
    };
    assert_eq!(
        names(&context.before.events),
        [ids[3].clone(), ids[2].clone()]
    );
    assert_eq!(
        names(&context.after.events),
        [ids[5].clone(), ids[6].clone()]
    );
    let next = house
        .rooms
        .page(
            &view,
            &alice,
            &room,
            (context.after.end, None),
            Direction::Forward,
            1,
            |_| true,
        )
        .await
        .unwrap();
    assert_eq!(names(&next.events), [ids[7].clone()]);
    let stranger = house
        .rooms
        .context(&view, &user("eve"), &room, &ids[4], 4, |_| true)
        .await;
    assert!(stranger.is_err());
}

#[tokio::test]
async fn the_event_nearest_to_a_time_is_found() {
    let house = House::open();
    let room = house.company(&["alice"]).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        house.clock.advance(std::time::Duration::from_secs(10));
        ids.push(house.say(&room, "alice", &number.to_string()).await);
    }
    let view = house.view().await;
    let at = |seconds: u32| MilliSecondsSinceUnixEpoch(uint!(1000) * seconds.into());
    for (time, direction, expected) in [
        (25, Direction::Forward, 2),
        (25, Direction::Backward, 1),
        (31, Direction::Forward, 2),
        (31, Direction::Backward, 2),
        (99, Direction::Backward, 4),
    ] {
        let found = house
            .rooms
            .event_near(&view, &user("alice"), &room, at(time), direction)
            .await
            .unwrap();
        assert_eq!(found.event_id(), ids[expected], "{time} {direction:?}");
    }
    let found = house
        .rooms
        .event_near(&view, &user("alice"), &room, at(99), Direction::Forward)
        .await;
    assert!(found.is_err());
}

#[tokio::test]
async fn of_very_many_events_few_are_checked_at_once() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let mut sent = Vec::new();
    for number in 0..600 {
        let event = shared.message(&number.to_string(), &[&newest]).await;
        sent.push(federation_json(&event));
    }
    let (rooms, version) = (&shared.house.rooms, shared.head().await.version);
    let read = rooms.read_events(&shared.room, version, &sent).await;
    assert_eq!(read.unwrap().len(), 600);
    let together = &shared.away.checked_together;
    assert!(together.load(std::sync::atomic::Ordering::Relaxed) < 600);
}
