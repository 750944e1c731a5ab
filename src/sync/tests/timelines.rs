use serde_json::json;

use super::*;
use crate::StateForm;

#[tokio::test]
async fn a_first_answer_shows_everything_once() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    house.say(&room, "bob", "hi").await;
    let (_, answer) = house.first(&alice).await;
    let shown = joined(&answer, &room);
    let timeline = events(shown, "/timeline/events");
    assert_eq!(timeline.len(), 7, "{shown:#}");
    assert_eq!(shown["timeline"]["limited"], json!(false));
    assert!(
        events(shown, "/state/events").is_empty(),
        "the timeline holds it all"
    );
    assert_eq!(shown["summary"]["m.joined_member_count"], json!(2));
    assert_eq!(shown["summary"]["m.heroes"], json!(["@bob:home"]));
    assert_eq!(
        shown["unread_notifications"]["notification_count"],
        json!(1)
    );
    let rules = events(&answer, "/account_data/events");
    assert!(rules.iter().any(|event| event["type"] == "m.push_rules"));
    assert!(answer.get("device_lists").is_none());
}

#[tokio::test]
async fn news_are_told_once_and_to_their_device_with_its_transaction() {
    let house = House::open();
    let (alice, bob) = (house.account("alice").await, house.account("bob").await);
    let room = house.company(&["alice", "bob"]).await;
    let (a, _) = house.first(&alice).await;
    let (b, _) = house.first(&bob).await;
    house.clock.advance(Duration::from_secs(1));
    house.say(&room, "alice", "one").await;
    house.clock.advance(Duration::from_secs(2));
    let (a, own) = house.next(&alice, a).await;
    let (_, other) = house.next(&bob, b).await;
    let unsigned = |answer| joined(answer, &room)["timeline"]["events"][0]["unsigned"].clone();
    assert!(unsigned(&own)["transaction_id"].is_string());
    assert_eq!(unsigned(&own)["age"], json!(2000));
    assert_eq!(unsigned(&own)["membership"], json!("join"));
    assert!(unsigned(&other)["transaction_id"].is_null());
    assert_eq!(joined(&own, &room)["summary"], json!({}));
    let (_, nothing) = house.next(&alice, a).await;
    assert!(nothing.get("rooms").is_none(), "{nothing:#}");
    // A token that was used once may be used again.
    let (_, again) = house.next(&bob, b).await;
    assert_eq!(texts(joined(&again, &room)), ["one"]);
}

#[tokio::test]
async fn a_gap_is_told_with_the_state_that_changed_in_it() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice"]).await;
    let (since, _) = house.first(&alice).await;
    house
        .set(
            &room,
            "alice",
            ("m.room.topic", ""),
            json!({ "topic": "old" }),
        )
        .await;
    for number in 0..5 {
        house.say(&room, "alice", &number.to_string()).await;
    }
    house
        .set(&room, "alice", ("m.room.name", ""), json!({ "name": "N" }))
        .await;
    let limited = || since_with(since, json!({ "room": { "timeline": { "limit": 3 } } }));
    let (_, answer) = house.look(&alice, limited()).await;
    let shown = joined(&answer, &room);
    assert_eq!(texts(shown), ["3", "4"]);
    assert_eq!(shown["timeline"]["limited"], json!(true));
    assert_eq!(keys(shown, "state"), [("m.room.topic", "")]);
    assert_eq!(shown["timeline"]["events"][2]["type"], "m.room.name");

    let after = Request {
        state_form: StateForm::After,
        ..limited()
    };
    let (_, answer) = house.look(&alice, after).await;
    let shown = joined(&answer, &room);
    assert!(shown.get("state").is_none());
    assert_eq!(
        keys(shown, "state_after"),
        [("m.room.name", ""), ("m.room.topic", "")]
    );

    let whole = Request {
        full_state: true,
        ..limited()
    };
    let (_, answer) = house.look(&alice, whole).await;
    let shown = joined(&answer, &room);
    assert!(keys(shown, "state").contains(&("m.room.create", "")));
    assert_eq!(texts(shown), ["3", "4"]);
}

#[tokio::test]
async fn filters_choose_events_and_fields() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    let other = house.company(&["alice"]).await;
    let (since, _) = house.first(&alice).await;
    house.say(&room, "bob", "text").await;
    house
        .send(&room, "bob", "m.odd", json!({ "url": "mxc://a/b" }))
        .await;
    house.say(&other, "alice", "elsewhere").await;
    let ask = async |definition| house.look(&alice, since_with(since, definition)).await.1;

    let answer =
        ask(json!({ "room": { "timeline": { "types": ["m.*message"] }, "not_rooms": [other] } }))
            .await;
    assert_eq!(events(joined(&answer, &room), "/timeline/events").len(), 1);
    assert!(joined(&answer, &other).is_null());

    let answer = ask(json!({ "room": { "timeline": { "contains_url": true } } })).await;
    assert_eq!(
        joined(&answer, &room)["timeline"]["events"][0]["type"],
        "m.odd"
    );
    assert!(joined(&answer, &other).is_null());

    let answer = ask(json!({ "room": { "timeline": { "not_senders": ["@bob:home"] } } })).await;
    assert!(joined(&answer, &room).is_null());
    assert_eq!(texts(joined(&answer, &other)), ["elsewhere"]);

    let answer = ask(json!({ "event_fields": ["content.body"] })).await;
    let event = &joined(&answer, &room)["timeline"]["events"][0];
    assert_eq!(event["content"], json!({ "body": "text" }));
    assert!(event.get("unsigned").is_none());

    let answer = ask(json!({ "event_format": "federation" })).await;
    let event = &joined(&answer, &room)["timeline"]["events"][0];
    assert!(event["hashes"]["sha256"].is_string());
}

#[tokio::test]
async fn who_comes_in_is_shown_the_room_anew() {
    let house = House::open();
    let bob = house.account("bob").await;
    let room = house.company(&["alice"]).await;
    let (since, answer) = house.first(&bob).await;
    assert!(answer.get("rooms").is_none());
    house.say(&room, "alice", "before").await;
    house.act(&room, "bob", "bob", Act::Join).await;
    let (since, answer) = house.next(&bob, since).await;
    let shown = joined(&answer, &room);
    assert_eq!(shown["timeline"]["limited"], json!(true));
    assert_eq!(texts(shown), ["before"]);
    // A change of the profile is not another coming in.
    house
        .set(
            &room,
            "bob",
            ("m.room.member", "@bob:home"),
            json!({ "membership": "join", "displayname": "B" }),
        )
        .await;
    let (_, answer) = house.next(&bob, since).await;
    let shown = joined(&answer, &room);
    assert_eq!(shown["timeline"]["limited"], json!(false));
    let event = &shown["timeline"]["events"][0];
    assert_eq!(event["unsigned"]["prev_content"]["membership"], "join");
}

#[tokio::test]
async fn the_ignored_are_not_heard() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    let ignored = to_raw_value(&json!({ "ignored_users": { "@bob:home": {} } })).unwrap();
    house
        .users
        .set_account_data(&user("alice"), None, "m.ignored_user_list", &ignored)
        .await
        .unwrap();
    let (since, _) = house.first(&alice).await;
    house.say(&room, "bob", "psst").await;
    house
        .set(
            &room,
            "alice",
            ("m.room.topic", ""),
            json!({ "topic": "t" }),
        )
        .await;
    let (_, answer) = house.next(&alice, since).await;
    let shown = joined(&answer, &room);
    assert_eq!(events(shown, "/timeline/events").len(), 1);
}

#[tokio::test]
async fn pages_go_on_where_a_filter_hid_the_timeline() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice"]).await;
    house.say(&room, "alice", "1").await;
    let nothing = json!({ "room": { "timeline": { "types": [] } } });
    let (_, answer) = house.look(&alice, with(nothing)).await;
    let shown = joined(&answer, &room);
    assert!(events(shown, "/timeline/events").is_empty());
    let token: Token = shown["timeline"]["prev_batch"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(token.position, house.view().await.position());
    let state = events(shown, "/state/events");
    assert_eq!(state.len(), 5, "all of it");
}
