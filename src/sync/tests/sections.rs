use serde_json::json;

use super::*;

#[tokio::test]
async fn an_invite_is_told_stripped_and_once() {
    let house = House::open();
    let bob = house.account("bob").await;
    let room = house.company(&["alice"]).await;
    let (since, _) = house.first(&bob).await;
    house.act(&room, "alice", "bob", Act::Invite).await;
    let (since, answer) = house.next(&bob, since).await;
    let invite = &answer["rooms"]["invite"][room.as_str()];
    let shown = keys(invite, "invite_state");
    assert!(shown.contains(&("m.room.create", "")));
    assert!(shown.contains(&("m.room.member", "@bob:home")));
    assert!(
        invite["invite_state"]["events"][0]
            .get("event_id")
            .is_none()
    );
    house.say(&room, "alice", "not for bob yet").await;
    let (since, answer) = house.next(&bob, since).await;
    assert!(answer.get("rooms").is_none());
    let (_, answer) = house.first(&bob).await;
    assert!(answer["rooms"]["invite"][room.as_str()].is_object());

    house.act(&room, "bob", "bob", Act::Leave).await;
    let (_, answer) = house.next(&bob, since).await;
    let left = &answer["rooms"]["leave"][room.as_str()];
    assert_eq!(events(left, "/timeline/events").len(), 1, "{answer:#}");
    assert!(events(left, "/state/events").is_empty());
}

#[tokio::test]
async fn a_knock_is_told() {
    let house = House::open();
    let bob = house.account("bob").await;
    let room = house.company(&["alice"]).await;
    house
        .set(
            &room,
            "alice",
            ("m.room.join_rules", ""),
            json!({ "join_rule": "knock" }),
        )
        .await;
    let (since, _) = house.first(&bob).await;
    house.act(&room, "bob", "bob", Act::Knock).await;
    let (_, answer) = house.next(&bob, since).await;
    let knock = &answer["rooms"]["knock"][room.as_str()];
    assert!(keys(knock, "knock_state").contains(&("m.room.member", "@bob:home")));
}

#[tokio::test]
async fn who_leaves_hears_the_end_and_no_more() {
    let house = House::open();
    let bob = house.account("bob").await;
    let room = house.company(&["alice", "bob"]).await;
    let (since, _) = house.first(&bob).await;
    house.say(&room, "alice", "last").await;
    house.act(&room, "alice", "bob", Act::Ban).await;
    house.say(&room, "alice", "secret").await;
    house
        .set(
            &room,
            "alice",
            ("m.room.topic", ""),
            json!({ "topic": "secret" }),
        )
        .await;
    let (since, answer) = house.next(&bob, since).await;
    assert!(joined(&answer, &room).is_null());
    let left = &answer["rooms"]["leave"][room.as_str()];
    assert_eq!(texts(left), ["last"]);
    let timeline = events(left, "/timeline/events");
    assert_eq!(timeline[1]["content"]["membership"], "ban");
    assert!(!answer.to_string().contains("secret"));
    let (_, answer) = house.next(&bob, since).await;
    assert!(answer.get("rooms").is_none());

    let (_, answer) = house.first(&bob).await;
    assert!(answer.get("rooms").is_none());
    let with_left = json!({ "room": { "include_leave": true } });
    let (_, answer) = house.look(&bob, with(with_left)).await;
    let left = &answer["rooms"]["leave"][room.as_str()];
    assert_eq!(texts(left), ["last"]);
    assert!(!answer.to_string().contains("secret"));
}

#[tokio::test]
async fn account_data_of_rooms_comes_with_them() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice"]).await;
    let (since, _) = house.first(&alice).await;
    house
        .users
        .set_tag(&user("alice"), &room, "m.favourite", &json!({}))
        .await
        .unwrap();
    let content = to_raw_value(&json!({ "a": 1 })).unwrap();
    house
        .users
        .set_account_data(&user("alice"), None, "x.y", &content)
        .await
        .unwrap();
    let (since, answer) = house.next(&alice, since).await;
    let tags = &events(joined(&answer, &room), "/account_data/events")[0];
    assert_eq!(tags["content"]["tags"], json!({ "m.favourite": {} }));
    assert_eq!(
        answer["account_data"]["events"],
        json!([{ "type": "x.y", "content": { "a": 1 } }])
    );
    let (_, nothing) = house.next(&alice, since).await;
    assert!(nothing.get("rooms").is_none() && nothing.get("account_data").is_none());
}

#[tokio::test]
async fn device_lists_follow_the_rooms_that_are_shared() {
    let house = House::open();
    let alice = house.account("alice").await;
    house.account("bob").await;
    let room = house.company(&["alice"]).await;
    let (since, answer) = house.first(&alice).await;
    assert!(answer.get("device_lists").is_none());
    house.act(&room, "bob", "bob", Act::Join).await;
    let (since, answer) = house.next(&alice, since).await;
    assert_eq!(answer["device_lists"]["changed"], json!(["@bob:home"]));

    let mut batch = hearth_store::Batch::new();
    let (view, rooms) = (house.store.view().await.unwrap(), [room.clone()]);
    hearth_rooms::signal_device_change(&view, &mut batch, &rooms, &user("bob"))
        .await
        .unwrap();
    house.store.commit(batch).await.unwrap();
    let (since, answer) = house.next(&alice, since).await;
    assert_eq!(answer["device_lists"]["changed"], json!(["@bob:home"]));
    assert!(answer.get("rooms").is_none(), "the room itself is quiet");

    let second = house.company(&["alice", "bob"]).await;
    let (since, _) = house.next(&alice, since).await;
    house.act(&room, "bob", "bob", Act::Leave).await;
    let (since, answer) = house.next(&alice, since).await;
    assert!(
        answer.get("device_lists").is_none(),
        "a room is left that they share"
    );
    house.act(&second, "alice", "alice", Act::Leave).await;
    let (_, answer) = house.next(&alice, since).await;
    assert_eq!(answer["device_lists"]["left"], json!(["@bob:home"]));
}

#[tokio::test]
async fn who_went_and_came_back_may_have_other_keys() {
    let house = House::open();
    let alice = house.account("alice").await;
    house.account("bob").await;
    let room = house.company(&["alice", "bob"]).await;
    let (since, _) = house.first(&alice).await;
    house.act(&room, "bob", "bob", Act::Leave).await;
    house.act(&room, "bob", "bob", Act::Join).await;
    let face = Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: None,
    };
    let shown = |room| house.rooms.update_profile(room, user("bob"), face.clone());
    shown(room.clone()).await.unwrap();
    let (since, answer) = house.next(&alice, since).await;
    assert_eq!(answer["device_lists"]["changed"], json!(["@bob:home"]));

    let unshown = Profile::default();
    let update = house
        .rooms
        .update_profile(room.clone(), user("bob"), unshown);
    update.await.unwrap();
    let (_, answer) = house.next(&alice, since).await;
    assert!(!events(joined(&answer, &room), "/timeline/events").is_empty());
    assert!(
        answer.get("device_lists").is_none(),
        "another name is no other key"
    );
}

#[tokio::test]
async fn another_device_hears_once_of_a_room_that_was_left_and_forgotten() {
    let house = House::open();
    let alice = house.account("alice").await;
    house.account("bob").await;
    let room = house.company(&["alice", "bob"]).await;
    let (since, _) = house.first(&alice).await;
    house.say(&room, "bob", "not yet seen").await;
    house.act(&room, "alice", "alice", Act::Leave).await;
    house.rooms.forget(&room, &alice.user_id).await.unwrap();
    house.say(&room, "bob", "after").await;
    let (next, answer) = house.next(&alice, since).await;
    let left = &answer["rooms"]["leave"][room.as_str()];
    let told = events(left, "/timeline/events");
    assert_eq!(told.len(), 1, "the departure, and nothing of the room");
    assert_eq!(told[0]["content"]["membership"], "leave");
    assert_eq!(answer["device_lists"]["left"], json!(["@bob:home"]));
    let (_, quiet) = house.next(&alice, next).await;
    assert!(quiet.get("rooms").is_none());
    let everything = json!({ "room": { "include_leave": true } });
    let (_, first) = house.look(&alice, with(everything)).await;
    assert!(first["rooms"]["leave"].get(room.as_str()).is_none());

    // Who comes back is shown as joined.
    house.act(&room, "alice", "alice", Act::Join).await;
    let (_, back) = house.next(&alice, since).await;
    assert!(back["rooms"]["leave"].as_object().unwrap().is_empty());
    assert!(!joined(&back, &room).is_null());
}
