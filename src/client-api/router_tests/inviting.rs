//! Who can be invited, and how events look to those who come.

use http::Method;
use serde_json::{Value, json};

use super::server::{Client, Server};

const PERMISSION: &str = "m.invite_permission_config";

async fn set(client: &Client<'_>, permission: Value) {
    let path = format!("/user/{}/account_data/{PERMISSION}", client.user);
    client.put(&path, permission).await.ok();
}

/// The rooms that somebody is invited to.
async fn invited(client: &Client<'_>) -> usize {
    let synced = client.get("/sync").await.ok();
    let rooms = &synced["rooms"]["invite"];
    rooms.as_object().map_or(0, serde_json::Map::len)
}

#[tokio::test]
async fn who_blocks_invites_gets_none() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({})).await;
    let invite = json!({ "user_id": bob.user });
    alice
        .post(&format!("/rooms/{room}/invite"), invite.clone())
        .await
        .ok();
    assert_eq!(invited(&bob).await, 1);
    set(&bob, json!({ "default_action": "block" })).await;
    assert_eq!(invited(&bob).await, 0, "an old invite is hidden");

    let other = alice.room(json!({})).await;
    let path = format!("/rooms/{other}/invite");
    let refused = alice.post(&path, invite.clone()).await;
    refused.refused(403, "M_INVITE_BLOCKED");
    let path = format!("/rooms/{other}/state/m.room.member/{}", bob.user);
    let refused = alice.put(&path, json!({ "membership": "invite" }));
    refused.await.refused(403, "M_INVITE_BLOCKED");
    let refused = alice.post("/createRoom", json!({ "invite": [bob.user] }));
    refused.await.refused(403, "M_INVITE_BLOCKED");

    set(&bob, json!({})).await;
    alice
        .post(&format!("/rooms/{other}/invite"), invite)
        .await
        .ok();
    assert_eq!(invited(&bob).await, 2, "the old one is back");
}

#[tokio::test]
async fn a_redaction_can_be_sent_like_any_event() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for version in ["10", "12"] {
        let room = alice.room(json!({ "room_version": version })).await;
        let event = alice.say(&room, "1", "hello").await;
        let redacts = event.replace("%24", "$");
        let path = format!("/rooms/{room}/send/m.room.redaction/2");
        let content = json!({ "redacts": redacts, "reason": "no" });
        let sent = alice.put(&path, content).await.ok();
        let path = format!("/rooms/{room}/event/{event}");
        let redacted = alice.get(&path).await.ok();
        assert_eq!(redacted["content"], json!({}));
        let because = &redacted["unsigned"]["redacted_because"];
        assert_eq!(because["event_id"], sent["event_id"]);
        assert_eq!(because["content"]["reason"], "no");
        assert_eq!(because["redacts"], redacts.as_str());
        let path = format!("/rooms/{room}/send/m.room.redaction/3");
        let refused = alice.put(&path, json!({ "redacts": 1 })).await;
        refused.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test]
async fn events_say_what_they_replaced_and_what_the_reader_was() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice
        .room(json!({ "preset": "public_chat", "name": "Tea" }))
        .await;
    alice.say(&room, "1", "before").await;
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .ok();
    let path = format!("/rooms/{room}/state/m.room.name");
    let changed = alice.put(&path, json!({ "name": "Coffee" })).await.ok();
    let page = bob
        .call(Method::GET, &format!("/rooms/{room}/messages?dir=b"), None)
        .await
        .ok();
    let events = page["chunk"].as_array().unwrap();
    let name = &events[0];
    assert_eq!(name["event_id"], changed["event_id"]);
    assert_eq!(name["unsigned"]["prev_content"], json!({ "name": "Tea" }));
    assert!(name["unsigned"]["replaces_state"].is_string());
    let memberships: Vec<&str> = events[..3]
        .iter()
        .map(|event| event["unsigned"]["membership"].as_str().unwrap())
        .collect();
    assert_eq!(memberships, ["join", "join", "leave"]);
}
