//! Computing a room again: what comes out is what is stored, and what is stored otherwise is told.

use hearth_store::Batch;
use serde_json::json;

use super::{
    receiving::{BOB, Made, Shared},
    user,
};
use crate::{
    StoredEvent,
    event::{EVENTS, EventRecord},
    forks::FORKS,
    head::HEADS,
    member::MEMBERS,
};

/// A room with branches, and with events that were rejected and soft-failed.
async fn varied() -> Shared {
    let shared = Shared::open().await;
    let branches = shared.branches().await;
    shared.house.say(&shared.room, "alice", "between").await;
    shared.send("1", &branches.iter().collect::<Vec<_>>()).await;
    let name = shared.name("bob's", &[&branches[0], &branches[2]]).await;
    // Names no power levels that allow it.
    let wrong = Made {
        event_type: "m.room.topic",
        state_key: Some(""),
        content: json!({ "topic": "wrong" }),
        after: &[&name],
        names: &[("m.room.member", BOB)],
    };
    let wrong = shared.make(wrong).await;
    shared.send("2", &[&name, &wrong]).await;
    let late = shared.message("late", &[&name]).await;
    let ban = crate::MemberChange::of(
        shared.room.clone(),
        user("alice"),
        super::receiving::bob(),
        crate::Act::Ban,
    );
    shared.house.rooms.change_here(ban).await.unwrap();
    shared.send("3", &[&late]).await;
    let stored = shared.stored(late.event_id()).await.unwrap();
    assert!(stored.soft_failed);
    let stored = shared.stored(wrong.event_id()).await.unwrap();
    assert!(stored.pdu.is_rejected());
    shared.house.say(&shared.room, "alice", "after").await;
    shared
}

#[tokio::test]
async fn a_room_is_computed_as_it_is_stored() {
    let shared = varied().await;
    let found = shared.house.other.recompute(&shared.room).await.unwrap();
    assert_eq!(found.differences, Vec::<String>::new());
    // Six of the creation, two of bob's coming and power, three branches, five more of each side, a ban.
    assert!(found.events >= 15, "{found:?}");
    assert_eq!((found.count, found.told, found.unclear), (0, 0, 0));
}

/// What is told of the room when the store was changed by `change`.
async fn told(shared: &Shared, change: Batch) -> Vec<String> {
    shared.house.store.commit(change).await.unwrap();
    let found = shared.house.other.recompute(&shared.room).await.unwrap();
    assert_eq!(found.count, found.differences.len() as u64);
    found.differences
}

#[tokio::test]
async fn an_event_with_a_wrong_state_is_told_and_what_follows_from_it() {
    let shared = varied().await;
    let head = shared.head().await;
    let view = shared.view().await;
    let name = shared
        .house
        .rooms
        .state_event(&view, &head, head.state, "m.room.name", "");
    let name = name.await.unwrap().unwrap();
    let wrong = StoredEvent {
        state_after: name.state_before,
        ..StoredEvent::clone(&name)
    };
    let mut batch = Batch::new();
    batch.put(&EVENTS, name.event_id().as_str(), EventRecord::of(&wrong));
    let told = told(&shared, batch).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let line = format!(
        "the state after {0} differs in 1 entries, at first: (m.room.name, \"\") is nothing and has to be {0}",
        name.event_id()
    );
    assert_eq!(told[0], line);
}

#[tokio::test]
async fn a_wrong_mark_is_told() {
    let shared = varied().await;
    let first = shared.newest().await;
    let event = shared.stored(first.event_id()).await.unwrap();
    let wrong = StoredEvent {
        soft_failed: true,
        ..StoredEvent::clone(&event)
    };
    let mut batch = Batch::new();
    batch.put(&EVENTS, first.event_id().as_str(), EventRecord::of(&wrong));
    let told = told(&shared, batch).await;
    let line = format!(
        "{} is stored as soft-failed and has to be accepted",
        first.event_id()
    );
    assert_eq!(told, [line]);
}

#[tokio::test]
async fn wrong_heads_members_and_states_between_branches_are_told() {
    let shared = varied().await;
    let mut head = shared.head().await;
    let view = shared.view().await;
    let room = shared.room.as_str();
    let mut batch = Batch::new();
    let prefix = (room,);
    let forks = view.scan_prefix(&FORKS, prefix, hearth_store::Direction::Forward, 1);
    let ((_, place), (before, after)) = forks.await.unwrap().remove(0);
    batch.put(&FORKS, (room, place), (after, before));
    let newest = head.extremities.clone();
    let event = shared.stored(&newest[0]).await.unwrap();
    head.extremities = event.pdu.prev_events().to_vec();
    head.joined += 1;
    batch.put(&HEADS, room, &head);
    let alice = user("alice");
    let mut member = view
        .get(&MEMBERS, (room, alice.as_str()))
        .await
        .unwrap()
        .unwrap();
    member.event_id = newest[0].clone();
    batch.put(&MEMBERS, (room, alice.as_str()), &member);
    let told = told(&shared, batch).await;
    let expected = [
        format!("the membership of {alice} is not that of the state"),
        "2 users are said to be joined, and 1 are".to_owned(),
        "the state of the room before ".to_owned(),
        "the state of the room after ".to_owned(),
        "the forward extremities are ".to_owned(),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (line, start) in told.iter().zip(&expected) {
        assert!(line.starts_with(start), "{line} and not {start}");
    }
}

#[tokio::test]
async fn a_room_that_is_not_known_cannot_be_computed() {
    let shared = Shared::open().await;
    let nowhere = ruma::room_id!("!nowhere:home");
    let found = shared.house.rooms.recompute(nowhere).await;
    assert!(matches!(found, Err(crate::Error::NotFound(_))), "{found:?}");
}
