//! Redactions, and what they take out of the indexes.

use ruma::OwnedEventId;
use serde_json::{json, value::to_raw_value};

use super::{House, is_forbidden, user};
use crate::{Error, NewEvent, Refusal};

async fn redact(
    house: &House,
    room: &ruma::RoomId,
    by: &str,
    target: &OwnedEventId,
) -> Result<OwnedEventId, Error> {
    let content = to_raw_value(&json!({ "reason": "no" })).unwrap();
    let event = NewEvent::message(room.to_owned(), user(by), "m.room.redaction", content);
    house.rooms.redact(event, target.clone()).await
}

#[tokio::test]
async fn a_redacted_event_keeps_its_place_and_loses_its_content() {
    let house = House::open();
    let room = house.company(&["alice", "bob", "carol"]).await;
    let id = house.say(&room, "bob", "regret").await;
    assert!(is_forbidden(&redact(&house, &room, "carol", &id).await));
    let before = house.view().await;
    for rooms in [&house.rooms, &house.other] {
        let event = rooms.event(&before, &id).await.unwrap().unwrap();
        assert!(event.pdu.content().get().contains("regret"));
    }
    let redaction = redact(&house, &room, "bob", &id).await.unwrap();
    let view = house.view().await;
    for rooms in [&house.rooms, &house.other] {
        let event = rooms.event(&view, &id).await.unwrap().unwrap();
        assert_eq!(event.pdu.content().get(), "{}");
        assert_eq!(event.redacted_by.as_ref(), Some(&redaction));
        assert!(
            event
                .pdu
                .unsigned()
                .unwrap()
                .get()
                .contains(redaction.as_str())
        );
    }
    // Nor does an older view bring it back.
    let event = house.rooms.event(&before, &id).await.unwrap().unwrap();
    assert_eq!(event.pdu.content().get(), "{}");
    let other = house.say(&room, "bob", "again").await;
    redact(&house, &room, "alice", &other).await.unwrap();
    let unknown = OwnedEventId::try_from("$unknown").unwrap();
    assert!(matches!(
        redact(&house, &room, "bob", &unknown).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_reaction_counts_once_until_it_is_redacted() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let id = house.say(&room, "bob", "hi").await;
    let react = || {
        let relation = json!({ "rel_type": "m.annotation", "event_id": id, "key": "+1" });
        house.send(
            &room,
            "alice",
            "m.reaction",
            json!({ "m.relates_to": relation }),
        )
    };
    let first = react().await.unwrap();
    let (second, third) = tokio::join!(react(), react());
    for refused in [second, third] {
        assert!(matches!(
            refused,
            Err(Error::Refused {
                kind: Refusal::DuplicateAnnotation,
                ..
            })
        ));
    }
    redact(&house, &room, "alice", &first).await.unwrap();
    let (second, third) = tokio::join!(react(), react());
    assert!(second.is_ok() && third.is_err());
}

#[tokio::test]
async fn a_redacted_reply_leaves_its_thread() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let root = house.say(&room, "alice", "root").await;
    let reply = async |by: &str| {
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        let content = json!({ "msgtype": "m.text", "body": "r", "m.relates_to": relation });
        house
            .send(&room, by, "m.room.message", content)
            .await
            .unwrap()
    };
    let (a, b) = (reply("bob").await, reply("bob").await);
    let thread = async || {
        let view = house.view().await;
        house.rooms.thread(&view, &room, &root).await.unwrap()
    };
    let full = thread().await.unwrap();
    assert_eq!((full.count, full.latest_id), (2, b.clone()));
    redact(&house, &room, "bob", &b).await.unwrap();
    let shorter = thread().await.unwrap();
    assert_eq!((shorter.count, shorter.latest_id), (1, a.clone()));
    redact(&house, &room, "bob", &a).await.unwrap();
    assert_eq!(thread().await, None);
    let view = house.view().await;
    let threads = house
        .rooms
        .threads(&view, &user("alice"), &room, false, None, 10)
        .await
        .unwrap();
    assert!(threads.events.is_empty());
}
