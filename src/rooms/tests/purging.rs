//! Rooms that nobody remembers: all that is gone, all that stays, and what may come in between.

use std::time::Duration;

use hearth_store::{Direction, Family, TableId};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use super::{
    House,
    receiving::{BOB, Made, Shared},
    user,
};
use crate::{
    Act, Error, ReceiptThread, Transaction,
    known_rooms::ROOMS_MOVED,
    state::{NODES, Which},
};

const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Everything that is stored, in the tables of rooms, as one text of bytes a record.
async fn records(house: &House) -> Vec<(u8, Vec<u8>)> {
    let view = house.store.engine().view().await.unwrap();
    let mut all = Vec::new();
    // Not when the rooms of a user last changed: that goes on.
    for number in (80..160).filter(|number| *number != ROOMS_MOVED.id().number) {
        for family in Family::ALL {
            let range = Vec::new()..vec![0xFF; 16];
            let table = TableId { family, number };
            let found = view.scan(table, range, Direction::Forward, 100_000).await;
            all.extend(
                found
                    .unwrap()
                    .into_iter()
                    .map(|(key, value)| (number, [key, value].concat())),
            );
        }
    }
    all
}

fn holds(record: &[u8], part: &[u8]) -> bool {
    record.windows(part.len()).any(|window| window == part)
}

/// Fills a room with one of everything and a good deal of state.
async fn fill(house: &House, room: &OwnedRoomId) {
    let bob = user("bob");
    for step in 0..40 {
        let topic = json!({ "topic": format!("{step}") });
        house
            .set(room, "alice", "m.room.topic", topic)
            .await
            .unwrap();
    }
    for step in 0..150 {
        house.say(room, "bob", &format!("message {step}")).await;
    }
    let root = house.say(room, "alice", "root").await;
    let relate = |kind: &str| json!({ "rel_type": kind, "event_id": root, "key": "+1" });
    let reaction = json!({ "m.relates_to": relate("m.annotation") });
    house
        .send(room, "bob", "m.reaction", reaction)
        .await
        .unwrap();
    let reply = json!({
        "msgtype": "m.text", "body": "hi", "m.mentions": { "user_ids": ["@alice:home"] },
        "m.relates_to": relate("m.thread"),
    });
    house
        .send(room, "bob", "m.room.message", reply)
        .await
        .unwrap();
    let receipt = house
        .rooms
        .receipt(&bob, room, &root, false, ReceiptThread::Main);
    receipt.await.unwrap();
    let alias = format!(
        "#of-{}:home",
        room.as_str().replace([':', '!'], "-").to_lowercase()
    );
    let alias = ruma::OwnedRoomAliasId::try_from(alias).unwrap();
    house
        .rooms
        .set_alias(&alias, room, &user("alice"))
        .await
        .unwrap();
    let content = serde_json::value::to_raw_value(&json!({ "msgtype": "m.text", "body": "x" }));
    let mut event = crate::NewEvent::message(
        room.clone(),
        user("bob"),
        "m.room.message",
        content.unwrap(),
    );
    event.transaction = Some(Transaction {
        user: user("bob"),
        device: "PHONE".into(),
        id: room.to_string(),
    });
    house.rooms.send(event).await.unwrap();
    let view = house.view().await;
    let mut batch = hearth_store::Batch::new();
    let rooms = std::slice::from_ref(room);
    let signal = crate::signal_device_change(&view, &mut batch, rooms, &bob);
    signal.await.unwrap();
    house.store.commit(batch).await.unwrap();
    // Other servers heard of it.
    let view = house.view().await;
    let mut batch = hearth_store::Batch::new();
    for told in house.rooms.devices_to_tell(&view, 10).await.unwrap() {
        crate::Rooms::plan_devices_told(&mut batch, &told);
    }
    house.store.commit(batch).await.unwrap();
}

async fn leave_and_forget(house: &House, room: &OwnedRoomId, names: &[&str]) {
    for name in names {
        house.act(room, name, name, Act::Leave).await.unwrap();
        house.rooms.forget(room, &user(name)).await.unwrap();
    }
}

/// Steps, on two nodes in turns, until there is nothing to do; the rooms that were removed.
async fn purge(house: &House) -> Vec<String> {
    let lease = house.lease().await;
    let mut removed = Vec::new();
    for step in 0..500 {
        let rooms = if step % 2 == 0 {
            &house.rooms
        } else {
            &house.other
        };
        let done = rooms.purge_step(KEPT_FOR, &lease).await.unwrap();
        removed.extend(done.removed);
        if !done.has_more {
            return removed;
        }
    }
    panic!("the work has no end");
}

/// Every state that an event of the room came upon or left behind, read in full.
async fn read_all_states(house: &House, room: &RoomId) -> usize {
    let view = house.view().await;
    let head = house.rooms.head(&view, room).await.unwrap().unwrap();
    let forward = Direction::Forward;
    let (start, end) = (hearth_store::Position::ZERO, view.position());
    let events = house
        .rooms
        .timeline(&view, room, start, end, forward, 1000)
        .await
        .unwrap();
    // A tree of its own: nothing that the service has in memory.
    let tree = crate::state::StateTree::new(0);
    let mut entries = 0;
    for event in &events {
        for root in [event.state_before, event.state_after] {
            let found = tree
                .scan(&view, head.number, root, Which::All)
                .await
                .unwrap();
            entries += found.len();
        }
    }
    entries
}

#[tokio::test]
async fn a_room_that_all_forgot_goes_with_all_that_it_had() {
    let house = House::open();
    let kept = house.company(&["alice", "bob", "carol"]).await;
    fill(&house, &kept).await;
    let before_doomed = records(&house).await;
    let (states, doomed) = (
        read_all_states(&house, &kept).await,
        house.company(&["alice", "bob", "carol"]).await,
    );
    fill(&house, &doomed).await;
    let view = house.view().await;
    let number = house
        .rooms
        .head(&view, &doomed)
        .await
        .unwrap()
        .unwrap()
        .number;
    let nodes = view.scan_prefix(&NODES, (number,), Direction::Forward, 10_000);
    assert!(nodes.await.unwrap().len() > 40, "many states");
    leave_and_forget(&house, &doomed, &["alice", "bob", "carol"]).await;
    assert!(purge(&house).await.is_empty(), "too early");
    assert!(
        house
            .rooms
            .head(&house.view().await, &doomed)
            .await
            .unwrap()
            .is_some()
    );
    house.clock.advance(KEPT_FOR);
    assert_eq!(purge(&house).await, [doomed.as_str()]);
    for (table, record) in records(&house).await {
        let text = String::from_utf8_lossy(&record);
        assert!(!holds(&record, doomed.as_bytes()), "table {table}: {text}");
        assert!(
            !record.starts_with(&number.to_be_bytes()),
            "table {table}: {text}"
        );
    }
    assert_eq!(
        records(&house).await,
        before_doomed,
        "something is left, or too much is gone"
    );
    assert_eq!(read_all_states(&house, &kept).await, states);
    let back = house.join(&doomed, "alice").await;
    assert!(matches!(back, Err(Error::NotFound(_))));
}

/// One who is in the room, invited, or remembers it keeps it, whoever forgot it before.
#[tokio::test]
async fn a_room_that_one_remembers_stays() {
    let house = House::open();
    let joined = house.company(&["alice", "bob"]).await;
    leave_and_forget(&house, &joined, &["bob"]).await;
    let left = house.company(&["alice", "bob"]).await;
    house
        .act(&left, "alice", "alice", Act::Leave)
        .await
        .unwrap();
    leave_and_forget(&house, &left, &["bob"]).await;
    let invited = house.company(&["alice", "bob"]).await;
    house
        .act(&invited, "alice", "carol", Act::Invite)
        .await
        .unwrap();
    leave_and_forget(&house, &invited, &["alice", "bob"]).await;
    let again = house.company(&["alice", "bob"]).await;
    leave_and_forget(&house, &again, &["alice", "bob"]).await;
    house.join(&again, "bob").await.unwrap();
    house.clock.advance(KEPT_FOR);
    assert!(purge(&house).await.is_empty());
    for room in [&joined, &left, &invited, &again] {
        assert!(read_all_states(&house, room).await > 0);
    }
    // The last ones go, later than the first: the room is kept for as long after that.
    house.rooms.forget(&left, &user("alice")).await.unwrap();
    assert!(purge(&house).await.is_empty());
    house.clock.advance(KEPT_FOR);
    assert_eq!(purge(&house).await, [left.as_str()]);
}

/// Whoever comes at the moment in which the room goes is either in, and the room stays, or finds no room.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_and_the_removal_exclude_each_other() {
    let house = House::open();
    let (mut stayed, mut gone) = (0, 0);
    for _ in 0..20 {
        let room = house.company(&["alice"]).await;
        leave_and_forget(&house, &room, &["alice"]).await;
        house.clock.advance(KEPT_FOR);
        let lease = house.lease().await;
        let (joined, step) = tokio::join!(
            house.join(&room, "bob"),
            house.other.purge_step(KEPT_FOR, &lease)
        );
        step.unwrap();
        let removed = purge(&house).await;
        match joined {
            Ok(_) => {
                assert!(removed.is_empty());
                assert!(read_all_states(&house, &room).await > 0);
                stayed += 1;
            }
            Err(Error::NotFound(_)) => {
                assert_eq!(removed, [room.as_str()]);
                gone += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(stayed + gone, 20);
}

#[tokio::test]
async fn events_that_were_not_allowed_go_too() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    // Without the power levels nothing allows it.
    let wrong = Made {
        event_type: "m.room.topic",
        state_key: Some(""),
        content: json!({ "topic": "wrong" }),
        after: &[&newest],
        names: &[("m.room.member", BOB)],
    };
    let wrong = shared.make(wrong).await;
    shared.send("1", &[&wrong]).await;
    let stored = shared.stored(wrong.event_id()).await.unwrap();
    assert!(stored.pdu.is_rejected());
    leave_and_forget(&shared.house, &shared.room, &["alice"]).await;
    shared.house.clock.advance(KEPT_FOR);
    assert_eq!(purge(&shared.house).await, [shared.room.as_str()]);
    // What a transaction was answered is known for a day.
    let kept = records(&shared.house).await.into_iter();
    for (table, record) in kept.filter(|(table, _)| *table != 135) {
        let text = String::from_utf8_lossy(&record);
        let id = wrong.event_id().as_bytes();
        assert!(!holds(&record, id), "table {table}: {text}");
    }
}
