//! Receipts, unread counts, typing, relations, aliases.

use std::time::Duration;

use hearth_store::{Batch, CommitError, Direction, Position};
use ruma::{EventId, OwnedEventId, OwnedRoomId, room_alias_id};
use serde_json::{Value, json};

use super::{House, is_forbidden, user};
use crate::{
    Act, Counts, Error, ReceiptThread, Refusal, RelationFilter, Unread,
    signal::{SIGNALS, signal_device_change},
};

pub(super) async fn unread(house: &House, room: &OwnedRoomId, name: &str) -> Unread {
    let view = house.view().await;
    let head = house.rooms.head(&view, room).await.unwrap().unwrap();
    let member = house
        .rooms
        .membership(&view, &user(name), room)
        .await
        .unwrap()
        .unwrap();
    house
        .rooms
        .unread(&view, &user(name), room, &head, member.since)
        .await
        .unwrap()
}

async fn read(house: &House, room: &OwnedRoomId, name: &str, id: &EventId, thread: ReceiptThread) {
    house
        .rooms
        .receipt(&user(name), room, id, false, thread)
        .await
        .unwrap();
}

async fn reply(house: &House, room: &OwnedRoomId, by: &str, root: &EventId) -> OwnedEventId {
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let content = json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": relation });
    house
        .send(room, by, "m.room.message", content)
        .await
        .unwrap()
}

fn counts(notifications: u64, highlights: u64) -> Counts {
    Counts {
        notifications,
        highlights,
    }
}

#[tokio::test]
async fn counts_are_differences_and_mentions() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    house.say(&room, "alice", "before carol").await;
    house.join(&room, "carol").await.unwrap();
    assert_eq!(unread(&house, &room, "carol").await.all, counts(0, 0));
    house.say(&room, "alice", "one").await;
    let second = house.say(&room, "alice", "two").await;
    house
        .send(&room, "alice", "m.reaction", json!({}))
        .await
        .unwrap();
    let notice = json!({ "msgtype": "m.notice", "body": "beep" });
    house
        .send(&room, "alice", "m.room.message", notice)
        .await
        .unwrap();
    let mention = json!({ "msgtype": "m.text", "body": "three", "m.mentions": { "user_ids": ["@carol:home"] } });
    house
        .send(&room, "alice", "m.room.message", mention)
        .await
        .unwrap();
    let everybody = json!({ "msgtype": "m.text", "body": "four", "m.mentions": { "room": true } });
    house
        .send(&room, "alice", "m.room.message", everybody.clone())
        .await
        .unwrap();
    // Not for bob to call the whole room.
    house
        .send(&room, "bob", "m.room.message", everybody)
        .await
        .unwrap();
    assert_eq!(unread(&house, &room, "carol").await.all, counts(5, 2));
    read(&house, &room, "carol", &second, ReceiptThread::Unthreaded).await;
    assert_eq!(unread(&house, &room, "carol").await.all, counts(3, 2));
    house.say(&room, "carol", "I am here").await;
    assert_eq!(unread(&house, &room, "carol").await.all, counts(0, 0));
    assert_eq!(unread(&house, &room, "bob").await.all, counts(1, 0));
}

#[tokio::test]
async fn threads_are_counted_and_read_apart() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let root = house.say(&room, "alice", "root").await;
    let first = reply(&house, &room, "alice", &root).await;
    reply(&house, &room, "alice", &root).await;
    let last = house.say(&room, "alice", "main").await;
    let now = unread(&house, &room, "bob").await;
    assert_eq!(
        (now.main, now.threads[&root], now.all),
        (counts(2, 0), counts(2, 0), counts(4, 0))
    );
    read(&house, &room, "bob", &last, ReceiptThread::Main).await;
    read(
        &house,
        &room,
        "bob",
        &first,
        ReceiptThread::Thread(root.clone()),
    )
    .await;
    let now = unread(&house, &room, "bob").await;
    assert_eq!(
        (now.main, now.threads[&root], now.all),
        (counts(0, 0), counts(1, 0), counts(1, 0))
    );
    read(&house, &room, "bob", &last, ReceiptThread::Unthreaded).await;
    assert_eq!(unread(&house, &room, "bob").await, Unread::default());
}

async fn signal(house: &House, room: &OwnedRoomId, name: &str) {
    let view = house.view().await;
    let mut batch = Batch::new();
    let rooms = std::slice::from_ref(room);
    signal_device_change(&view, &mut batch, rooms, &user(name))
        .await
        .unwrap();
    house.store.commit(batch).await.unwrap();
}

/// A user who is shown under another name has read no more than before, and one who comes back starts anew.
#[tokio::test]
async fn another_name_leaves_unread_what_is_unread() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    house.say(&room, "alice", "one").await;
    house.say(&room, "alice", "two").await;
    let face = crate::Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: None,
    };
    let shown = house.rooms.update_profile(room.clone(), user("bob"), face);
    shown.await.unwrap();
    assert_eq!(unread(&house, &room, "bob").await.all.notifications, 2);
    house.act(&room, "bob", "bob", Act::Leave).await.unwrap();
    house.say(&room, "alice", "while away").await;
    house.join(&room, "bob").await.unwrap();
    assert_eq!(unread(&house, &room, "bob").await.all.notifications, 0);
    house.say(&room, "alice", "welcome back").await;
    assert_eq!(unread(&house, &room, "bob").await.all.notifications, 1);
}

/// However often the devices of a member change, the room keeps one signal, and whoever asks since any earlier moment finds
/// it.
#[tokio::test]
async fn the_last_change_of_devices_is_all_that_is_kept() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let mut moments = vec![house.view().await.position()];
    for _ in 0..20 {
        signal(&house, &room, "alice").await;
        signal(&house, &room, "bob").await;
        moments.push(house.view().await.position());
    }
    let view = house.view().await;
    let kept = view
        .scan_prefix(&SIGNALS, (room.as_str(),), Direction::Forward, 100)
        .await
        .unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let last = moments.pop().unwrap();
    for since in moments {
        let signals = house.rooms.signals_since(&view, &room, since, last).await;
        assert_eq!(signals.unwrap().devices, [user("alice"), user("bob")]);
    }
    let signals = house.rooms.signals_since(&view, &room, last, last).await;
    assert!(signals.unwrap().devices.is_empty());
}

/// Two that tell the same at the same time conflict, so that no signal is left behind.
#[tokio::test]
async fn two_changes_of_devices_at_once_conflict() {
    let house = House::open();
    let room = house.company(&["alice"]).await;
    let view = house.view().await;
    let mut batches = [Batch::new(), Batch::new()];
    for batch in &mut batches {
        let rooms = std::slice::from_ref(&room);
        signal_device_change(&view, batch, rooms, &user("alice"))
            .await
            .unwrap();
    }
    let [first, second] = batches;
    house.store.commit(first).await.unwrap();
    let conflict = house.store.commit(second).await;
    assert!(matches!(conflict, Err(CommitError::Conflict)));
}

#[tokio::test]
async fn receipts_move_forward_and_leave_one_signal() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let (a, b) = (
        house.say(&room, "alice", "a").await,
        house.say(&room, "alice", "b").await,
    );
    let start = house.view().await.position();
    read(&house, &room, "bob", &a, ReceiptThread::Unthreaded).await;
    read(&house, &room, "bob", &b, ReceiptThread::Unthreaded).await;
    read(&house, &room, "bob", &a, ReceiptThread::Unthreaded).await;
    house
        .rooms
        .receipt(&user("bob"), &room, &a, true, ReceiptThread::Main)
        .await
        .unwrap();
    signal(&house, &room, "alice").await;
    let view = house.view().await;
    let signals = house
        .rooms
        .signals_since(&view, &room, start, view.position())
        .await
        .unwrap();
    let seen: Vec<_> = signals
        .receipts
        .iter()
        .map(|r| (r.event_id.clone(), r.is_private))
        .collect();
    assert_eq!(seen, [(a.to_string(), true), (b.to_string(), false)]);
    assert_eq!(signals.devices, [user("alice")]);
    let newest = house.rooms.signalled(&view, [&*room]).await.unwrap();
    assert_eq!(newest, [Some(view.position())]);
    assert_eq!(house.rooms.receipts(&view, &room).await.unwrap().len(), 2);
    let stranger = house
        .rooms
        .receipt(&user("eve"), &room, &a, false, ReceiptThread::Main)
        .await;
    assert!(is_forbidden(&stranger));
    let wrong = house
        .rooms
        .receipt(&user("bob"), &room, &b, false, ReceiptThread::Thread(a))
        .await;
    assert!(matches!(
        wrong,
        Err(Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        })
    ));
}

#[tokio::test]
async fn typing_has_a_stamp_that_grows() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let rooms = &house.rooms;
    let (nobody, zero) = rooms.typing(&room).await.unwrap();
    assert!(nobody.is_empty());
    rooms
        .set_typing(&user("bob"), &room, Some(Duration::from_secs(30)))
        .await
        .unwrap();
    let (somebody, first) = house.other.typing(&room).await.unwrap();
    assert_eq!(somebody, [user("bob")]);
    rooms.set_typing(&user("bob"), &room, None).await.unwrap();
    let (nobody, second) = rooms.typing(&room).await.unwrap();
    assert!(nobody.is_empty() && zero < first && first < second);
    let stranger = rooms
        .set_typing(&user("eve"), &room, Some(Duration::from_secs(1)))
        .await;
    assert!(is_forbidden(&stranger));
}

/// A message with replies in its thread, the newest first, edits by two users, a reference and a reaction to a reply.
async fn discussed(house: &House, room: &OwnedRoomId) -> (OwnedEventId, Vec<OwnedEventId>) {
    let root = house.say(room, "alice", "root").await;
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.insert(0, reply(house, room, "bob", &root).await);
    }
    for (by, rel_type, text) in [
        ("bob", "m.replace", "forged"),
        ("alice", "m.replace", "edited"),
        ("bob", "m.reference", "see"),
    ] {
        let relation = json!({ "rel_type": rel_type, "event_id": root });
        let content = json!({ "msgtype": "m.text", "body": text, "m.relates_to": relation });
        house
            .send(room, by, "m.room.message", content)
            .await
            .unwrap();
    }
    let relation = json!({ "rel_type": "m.annotation", "event_id": replies[4], "key": "x" });
    let content = json!({ "m.relates_to": relation });
    house
        .send(room, "alice", "m.reaction", content)
        .await
        .unwrap();
    (root, replies)
}

#[tokio::test]
async fn relations_are_paged_and_filtered() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let (root, replies) = discussed(&house, &room).await;
    let view = house.view().await;
    let alice = user("alice");
    let page = async |filter: RelationFilter<'_>, from, limit| {
        let (rooms, cuts) = (&house.rooms, (from, None));
        let back = Direction::Backward;
        rooms
            .relations(&view, &alice, &room, &root, filter, cuts, back, limit)
            .await
            .unwrap()
    };
    let threads = RelationFilter {
        rel_type: Some("m.thread"),
        ..RelationFilter::default()
    };
    let first = page(threads, None, 3).await;
    let second = page(threads, first.next, 3).await;
    let both = first.events.iter().chain(&second.events);
    let seen: Vec<_> = both.map(|e| e.event_id().to_owned()).collect();
    assert_eq!((seen, second.next), (replies, None));
    assert_eq!(
        page(RelationFilter::default(), None, 100)
            .await
            .events
            .len(),
        8
    );
    let deep = RelationFilter {
        recurse: true,
        ..RelationFilter::default()
    };
    assert_eq!(page(deep, None, 100).await.events.len(), 9);
}

#[tokio::test]
async fn events_bundle_what_refers_to_them() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let (root, replies) = discussed(&house, &room).await;
    let view = house.view().await;
    let event = house.rooms.event(&view, &root).await.unwrap().unwrap();
    let head = house.rooms.head(&view, &room).await.unwrap().unwrap();
    let bundle = house
        .rooms
        .bundled(&view, &user("alice"), &head, &event)
        .await
        .unwrap()
        .unwrap();
    let bundle: Value = serde_json::from_str(bundle.get()).unwrap();
    assert_eq!(bundle["m.replace"]["content"]["body"], "edited");
    assert_eq!(bundle["m.thread"]["count"], 5);
    assert_eq!(
        bundle["m.thread"]["latest_event"]["event_id"],
        replies[0].as_str()
    );
    assert_eq!(bundle["m.thread"]["current_user_participated"], true);
    assert_eq!(bundle["m.reference"]["chunk"].as_array().unwrap().len(), 1);
    let threads = house
        .rooms
        .threads(&view, &user("bob"), &room, true, None, 10)
        .await
        .unwrap();
    assert_eq!(threads.events.len(), 1);
    let of_a_reply = json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": replies[0] } });
    assert!(
        house
            .send(&room, "bob", "m.room.message", of_a_reply)
            .await
            .is_err()
    );
}

/// Which traits some events of the room have, by a service that remembers the end of the timeline and by one that reads it.
async fn traits(house: &House, room: &OwnedRoomId) -> [[bool; 4]; 2] {
    let view = house.view().await;
    let mut found = [[false; 4]; 2];
    for (rooms, found) in [&house.rooms, &house.other].into_iter().zip(&mut found) {
        let head = rooms.head(&view, room).await.unwrap().unwrap();
        let traits = rooms.traits(&view, room, &head).await.unwrap();
        *found = [
            traits.related,
            traits.threaded,
            traits.highlighted,
            traits.gapped,
        ]
        .map(|last| last.is_some());
    }
    found
}

#[tokio::test]
async fn what_is_remembered_of_an_end_learns_what_comes() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let root = house.say(&room, "alice", "root").await;
    assert_eq!(traits(&house, &room).await, [[false; 4]; 2]);
    let content =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": root, "key": "x" } });
    let sent = house.send(&room, "bob", "m.reaction", content).await;
    sent.unwrap();
    assert_eq!(
        traits(&house, &room).await,
        [[true, false, false, false]; 2]
    );
    reply(&house, &room, "bob", &root).await;
    assert_eq!(traits(&house, &room).await, [[true, true, false, false]; 2]);
    let content =
        json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": ["@bob:home"] } });
    let sent = house.send(&room, "alice", "m.room.message", content).await;
    sent.unwrap();
    assert_eq!(traits(&house, &room).await, [[true, true, true, false]; 2]);
    assert_eq!(unread(&house, &room, "bob").await.all.highlights, 1);
}

#[tokio::test]
async fn aliases_are_made_moved_and_removed() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let den = room_alias_id!("#den:home");
    let rooms = &house.rooms;
    rooms.set_alias(den, &room, &user("bob")).await.unwrap();
    let taken = rooms.set_alias(den, &room, &user("alice")).await;
    assert!(matches!(
        taken,
        Err(Error::Refused {
            kind: Refusal::RoomInUse,
            ..
        })
    ));
    let foreign = rooms
        .set_alias(room_alias_id!("#den:away"), &room, &user("bob"))
        .await;
    assert!(matches!(
        foreign,
        Err(Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        })
    ));
    let canonical = |alias: &str| {
        house.set(
            &room,
            "alice",
            "m.room.canonical_alias",
            json!({ "alias": alias }),
        )
    };
    canonical("#den:home").await.unwrap();
    let wrong = canonical("#other:home").await;
    assert!(matches!(
        wrong,
        Err(Error::Refused {
            kind: Refusal::BadAlias,
            ..
        })
    ));
    assert!(is_forbidden(
        &rooms.set_visibility(&room, &user("bob"), false, true).await
    ));
    rooms
        .set_visibility(&room, &user("alice"), false, true)
        .await
        .unwrap();
    let new = rooms
        .upgrade(
            &room,
            &user("alice"),
            crate::Profile::default(),
            Default::default(),
            vec![],
        )
        .await
        .unwrap();
    let view = house.view().await;
    assert_eq!(
        rooms.resolve_alias(&view, den).await.unwrap().unwrap().0,
        new
    );
    assert_eq!(
        rooms.published(&view).await.unwrap(),
        std::slice::from_ref(&new)
    );
    assert!(is_forbidden(
        &rooms.delete_alias(den, &user("eve"), false).await
    ));
    rooms.delete_alias(den, &user("bob"), false).await.unwrap();
    let view = house.view().await;
    assert_eq!(rooms.resolve_alias(&view, den).await.unwrap(), None);
    assert!(view.position() > Position::ZERO);
}
