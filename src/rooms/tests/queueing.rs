//! Queues, conflicts and transactions.

use std::collections::BTreeSet;

use hearth_store::{Direction, Position};
use ruma::OwnedRoomId;
use serde_json::{json, value::to_raw_value};

use super::{House, user};
use crate::{NewEvent, Preset, Rooms, Transaction};

fn message(house_room: &ruma::RoomId, text: &str) -> NewEvent {
    let content = to_raw_value(&json!({ "msgtype": "m.text", "body": text })).unwrap();
    NewEvent::message(
        house_room.to_owned(),
        user("alice"),
        "m.room.message",
        content,
    )
}

async fn send_all(
    services: &[&Rooms],
    room: &ruma::RoomId,
    each: usize,
) -> BTreeSet<ruma::OwnedEventId> {
    let mut sent = BTreeSet::new();
    let mut running = Vec::new();
    for (index, rooms) in services.iter().enumerate() {
        for number in 0..each {
            let (rooms, event) = (
                Rooms::clone(rooms),
                message(room, &format!("{index} {number}")),
            );
            running.push(tokio::spawn(
                async move { rooms.send(event).await.unwrap() },
            ));
        }
    }
    for task in running {
        assert!(sent.insert(task.await.unwrap()));
    }
    sent
}

#[tokio::test]
async fn waiting_requests_share_a_batch_and_keep_a_single_line_of_events() {
    let house = House::open();
    let room = house.room(Preset::PrivateChat).await;
    let before = house.view().await.position();
    let sent = send_all(&[&house.rooms], &room, 100).await;
    let view = house.view().await;
    let found = house
        .rooms
        .timeline(
            &view,
            &room,
            before,
            view.position(),
            Direction::Forward,
            1000,
        )
        .await
        .unwrap();
    let ids: BTreeSet<_> = found.iter().map(|e| e.event_id().to_owned()).collect();
    assert_eq!(ids, sent);
    for pair in found.windows(2) {
        assert_eq!(pair[1].pdu.prev_events(), [pair[0].event_id().to_owned()]);
        assert!(pair[0].position < pair[1].position && pair[0].pdu.depth() < pair[1].pdu.depth());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_store_plan_again_until_both_are_done() {
    let house = House::open();
    let room = house.room(Preset::PrivateChat).await;
    let before = house.view().await.position();
    let sent = send_all(&[&house.rooms, &house.other], &room, 100).await;
    let view = house.view().await;
    for rooms in [&house.rooms, &house.other] {
        let found = rooms
            .timeline(
                &view,
                &room,
                before,
                Position::MAX,
                Direction::Forward,
                1000,
            )
            .await
            .unwrap();
        let ids: BTreeSet<_> = found.iter().map(|e| e.event_id().to_owned()).collect();
        assert_eq!((ids.len(), &ids), (200, &sent));
        for pair in found.windows(2) {
            assert_eq!(pair[1].pdu.prev_events(), [pair[0].event_id().to_owned()]);
        }
    }
}

#[tokio::test]
async fn a_repeated_transaction_is_one_event() {
    let house = House::open();
    let room = house.room(Preset::PrivateChat).await;
    let transaction = |id: &str| Transaction {
        user: user("alice"),
        device: "PHONE".into(),
        id: id.to_owned(),
    };
    let send = |rooms: &Rooms, id: &str| {
        let mut event = message(&room, "once");
        event.transaction = Some(transaction(id));
        let rooms = rooms.clone();
        async move { rooms.send(event).await.unwrap() }
    };
    // At once, on both nodes; then later.
    let (a, b, c) = tokio::join!(
        send(&house.rooms, "1"),
        send(&house.rooms, "1"),
        send(&house.other, "1")
    );
    assert_eq!((&a, &a), (&b, &c));
    assert_eq!(send(&house.other, "1").await, a);
    assert_ne!(send(&house.rooms, "2").await, a);
    let view = house.view().await;
    assert_eq!(
        house
            .rooms
            .transaction(&view, &room, "send/m.room.message", &transaction("1"))
            .await
            .unwrap(),
        Some(a.clone())
    );
    let event = house.other.event(&view, &a).await.unwrap().unwrap();
    assert_eq!(event.transaction, Some(transaction("1")));
}

/// A transaction is told apart by its device and by the whole path: room, what is sent, what is redacted.
#[tokio::test]
async fn a_transaction_on_another_path_is_another_event() {
    let house = House::open();
    let room = house.room(Preset::PrivateChat).await;
    let target = house.say(&room, "alice", "to be redacted").await;
    let other_target = house.say(&room, "alice", "also").await;
    let request = |room: &OwnedRoomId, device: &str, event_type: &str, redacts| {
        let content = to_raw_value(&json!({ "body": "x", "msgtype": "m.text" })).unwrap();
        let mut event = NewEvent::message(room.clone(), user("alice"), event_type, content);
        event.redacts = redacts;
        event.transaction = Some(Transaction {
            user: user("alice"),
            device: device.into(),
            id: "1".to_owned(),
        });
        event
    };
    let (message, redaction) = ("m.room.message", "m.room.redaction");
    let elsewhere = house.room(Preset::PrivateChat).await;
    let requests = [
        request(&room, "PHONE", message, None),
        request(&room, "LAPTOP", message, None),
        request(&elsewhere, "PHONE", message, None),
        request(&room, "PHONE", "org.example.other", None),
        request(&room, "PHONE", redaction, Some(target)),
        request(&room, "PHONE", redaction, Some(other_target)),
    ];
    let mut made = Vec::new();
    for request in &requests {
        made.push(house.rooms.send(request.clone()).await.unwrap());
    }
    let different: std::collections::HashSet<_> = made.iter().collect();
    assert_eq!(different.len(), requests.len());
    for (request, id) in requests.iter().zip(&made) {
        assert_eq!(house.other.send(request.clone()).await.unwrap(), *id);
    }
}

#[tokio::test]
async fn state_that_changes_nothing_is_no_event() {
    let house = House::open();
    let room = house.room(Preset::PrivateChat).await;
    let name = |text: &str| house.set(&room, "alice", "m.room.name", json!({ "name": text }));
    let first = name("a").await.unwrap();
    assert_eq!(name("a").await.unwrap(), first);
    assert_ne!(name("b").await.unwrap(), first);
}
