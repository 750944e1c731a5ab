//! What notifies: counts, the list, and what is carried from a room to its successor.

use serde_json::json;

use super::server::Server;

#[tokio::test]
async fn a_named_user_is_notified_and_finds_it_listed() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    alice.say(&room, "t1", "Hello @bob:example.org!").await;
    let event = alice.say(&room, "t2", "Hello all!").await;
    let answer = bob.get("/sync").await.ok();
    let unread = &answer["rooms"]["join"][room.replace("%21", "!")]["unread_notifications"];
    assert_eq!(
        unread,
        &json!({ "notification_count": 2, "highlight_count": 1 })
    );

    let listed = bob.get("/notifications?limit=1").await.ok();
    let first = &listed["notifications"][0];
    assert_eq!(first["event"]["content"]["body"], "Hello all!");
    assert_eq!(
        (&first["read"], &first["actions"][0]),
        (&json!(false), &json!("notify"))
    );
    let token = listed["next_token"].as_str().unwrap();
    let next = bob
        .get(&format!("/notifications?from={token}&only=highlight"))
        .await
        .ok();
    assert_eq!(next["notifications"].as_array().unwrap().len(), 1);
    bob.get("/notifications?from=x")
        .await
        .refused(400, "M_INVALID_PARAM");

    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    bob.post(&path, json!({})).await.ok();
    let listed = bob.get("/notifications").await.ok();
    assert_eq!(listed["notifications"][1]["read"], true);
}

#[tokio::test]
async fn a_replaced_room_hands_its_rules_and_tags_on() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let body = json!({ "preset": "public_chat", "room_version": "10" });
    let old = alice.room(body).await;
    bob.post(&format!("/join/{old}"), json!({})).await.ok();
    for user in [&alice, &bob] {
        let path = format!("/pushrules/global/room/{old}");
        user.put(&path, json!({ "actions": [] })).await.ok();
        let path = format!("/user/{}/rooms/{old}/tags/m.favourite", user.user);
        user.put(&path, json!({ "order": 0.5 })).await.ok();
    }
    let body = json!({ "new_version": "11" });
    let answer = alice
        .post(&format!("/rooms/{old}/upgrade"), body)
        .await
        .ok();
    let new = answer["replacement_room"]
        .as_str()
        .unwrap()
        .replace('!', "%21");
    bob.post(&format!("/join/{new}"), json!({})).await.ok();
    for user in [&alice, &bob] {
        user.get(&format!("/pushrules/global/room/{new}"))
            .await
            .ok();
        let path = format!("/user/{}/rooms/{new}/tags", user.user);
        let tags = user.get(&path).await.ok();
        assert_eq!(tags["tags"]["m.favourite"]["order"], 0.5);
    }
}
