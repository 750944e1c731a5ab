//! What is addressed to a device or does not last: messages to it, receipts, typing, and waiting for them.

use hearth_rooms::ReceiptThread;
use serde_json::json;

use super::*;

#[tokio::test]
async fn messages_to_a_device_arrive_in_order_and_stay_until_acknowledged() {
    let house = House::open();
    let alice = house.account("alice").await;
    let (mut since, _) = house.first(&alice).await;
    for number in 0..150 {
        house.tell("bob", "alice", number).await;
    }
    let mut arrived = Vec::new();
    for expected in [100, 50, 0] {
        // Each answer gets lost once.
        let lost = house.next(&alice, since).await;
        let (next, answer) = house.next(&alice, since).await;
        assert_eq!(lost, (next, answer.clone()));
        let messages = events(&answer, "/to_device/events");
        assert_eq!(messages.len(), expected);
        arrived.extend(
            messages
                .iter()
                .map(|m| m["content"]["number"].as_u64().unwrap()),
        );
        since = next;
    }
    assert_eq!(arrived, (0..150).collect::<Vec<_>>());
    let (_, answer) = house.first(&alice).await;
    assert!(answer.get("to_device").is_none(), "they are removed");
}

async fn receipt(
    house: &House,
    who: &str,
    room: &OwnedRoomId,
    event: &OwnedEventId,
    private: bool,
) {
    let thread = ReceiptThread::Unthreaded;
    house
        .rooms
        .receipt(&user(who), room, event, private, thread)
        .await
        .unwrap();
}

#[tokio::test]
async fn private_receipts_are_for_their_owner() {
    let house = House::open();
    let (alice, bob) = (house.account("alice").await, house.account("bob").await);
    let room = house.company(&["alice", "bob"]).await;
    let one = house.say(&room, "alice", "1").await;
    let two = house.say(&room, "alice", "2").await;
    let (a, _) = house.first(&alice).await;
    let (b, answer) = house.first(&bob).await;
    let count =
        |answer| joined(answer, &room)["unread_notifications"]["notification_count"].clone();
    assert_eq!(count(&answer), json!(2));

    receipt(&house, "bob", &room, &one, true).await;
    let (_, own) = house.next(&bob, b).await;
    assert_eq!(count(&own), json!(1));
    let content = &joined(&own, &room)["ephemeral"]["events"][0]["content"];
    assert!(content[one.as_str()]["m.read.private"]["@bob:home"]["ts"].is_u64());
    let (a, other) = house.next(&alice, a).await;
    assert!(other.get("rooms").is_none(), "{other:#}");

    receipt(&house, "bob", &room, &two, false).await;
    let (_, other) = house.next(&alice, a).await;
    let content = &joined(&other, &room)["ephemeral"]["events"][0]["content"];
    assert!(content[two.as_str()]["m.read"]["@bob:home"]["ts"].is_u64());
    let (_, first) = house.first(&alice).await;
    assert!(!first.to_string().contains("m.read.private"));
}

fn typists(answer: &Value, room: &OwnedRoomId) -> Value {
    joined(answer, room)["ephemeral"]["events"][0]["content"]["user_ids"].clone()
}

#[tokio::test]
async fn typing_starts_and_ends_even_without_a_word() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    let (since, _) = house.first(&alice).await;
    let minute = Some(Duration::from_secs(60));
    house
        .rooms
        .set_typing(&user("bob"), &room, minute)
        .await
        .unwrap();
    let (since, answer) = house.next(&alice, since).await;
    assert_eq!(typists(&answer, &room), json!(["@bob:home"]));
    let (since, answer) = house.next(&alice, since).await;
    assert!(answer.get("rooms").is_none());
    house.clock.advance(Duration::from_secs(61));
    let (since, answer) = house.next(&alice, since).await;
    assert_eq!(typists(&answer, &room), json!([]));
    let (_, answer) = house.next(&alice, since).await;
    assert!(answer.get("rooms").is_none());
}

#[tokio::test]
async fn a_wait_ends_with_news_or_with_the_server() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    let (since, _) = house.first(&alice).await;
    let long = Duration::from_secs(100);
    let wait = |since| house.look(&alice, polling(since, long));

    let ((since, answer), _) = tokio::join!(wait(since), house.say(&room, "bob", "1"));
    assert_eq!(texts(joined(&answer, &room)), ["1"]);
    let typing = async {
        let bob = user("bob");
        let typing = house.rooms.set_typing(&bob, &room, Some(long));
        typing.await.unwrap();
    };
    let ((since, answer), ()) = tokio::join!(wait(since), typing);
    assert_eq!(typists(&answer, &room), json!(["@bob:home"]));
    let ((since, answer), ()) = tokio::join!(wait(since), house.tell("bob", "alice", 1));
    assert_eq!(events(&answer, "/to_device/events").len(), 1);

    let close = async { house.sync.close() };
    let ((_, answer), ()) = tokio::join!(wait(since), close);
    assert!(answer.get("rooms").is_none());
}

#[tokio::test]
async fn a_short_wait_ends_empty() {
    let house = House::open();
    let alice = house.account("alice").await;
    let (since, _) = house.first(&alice).await;
    let (next, answer) = house
        .look(&alice, polling(since, Duration::from_millis(20)))
        .await;
    assert_eq!(next, since);
    assert_eq!(
        answer,
        json!({
            "next_batch": since.to_string(),
            "device_one_time_keys_count": { "signed_curve25519": 0 },
            "device_unused_fallback_key_types": []
        })
    );
}

#[tokio::test]
async fn a_request_that_waits_is_small() {
    let house = House::open();
    let alice = session("alice");
    let waiting = house.sync.sync(alice.clone(), Request::default());
    assert!(
        size_of_val(&waiting) <= 3072,
        "{} bytes",
        size_of_val(&waiting)
    );
}
