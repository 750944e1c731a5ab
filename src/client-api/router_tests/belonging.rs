//! Coming into rooms and going from them, and what their members are called there, through the router.

use http::Method;
use serde_json::{Value, json};

use super::server::Server;

#[tokio::test]
async fn a_join_carries_what_the_client_put_into_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    let body =
        json!({ "foo": { "bar": 1 }, "membership": "ban", "displayname": "Eve", "reason": "tea" });
    bob.post(&format!("/join/{room}"), body).await.ok();
    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.user);
    let content = bob.get(&path).await.ok();
    let expected = json!({ "foo": { "bar": 1 }, "membership": "join", "reason": "tea" });
    assert_eq!(content, expected);
}

#[tokio::test]
async fn the_first_members_of_a_room_are_its_maker() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    let synced = alice.get("/sync").await.ok();
    let shown = &synced["rooms"]["join"][room.replace("%21", "!")];
    let start = shown["timeline"]["prev_batch"].as_str().unwrap();
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    let path = format!("/rooms/{room}/members?at={start}");
    let members = alice.get(&path).await.ok();
    assert_eq!(members["chunk"].as_array().unwrap().len(), 1);
    assert_eq!(members["chunk"][0]["state_key"], alice.user.as_str());
}

#[tokio::test]
async fn an_alias_that_is_deleted_is_no_longer_named_by_its_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    for alias in ["a", "b"] {
        let path = format!("/directory/room/%23{alias}:example.org");
        let body = json!({ "room_id": room.replace("%21", "!") });
        alice.put(&path, body).await.ok();
    }
    let state = format!("/rooms/{room}/state/m.room.canonical_alias");
    let named = json!({ "alias": "#a:example.org", "alt_aliases": ["#b:example.org"], "x": 1 });
    alice.put(&state, named).await.ok();
    let delete = async |alias: &str| {
        let path = format!("/directory/room/%23{alias}:example.org");
        alice.call(Method::DELETE, &path, None).await.ok();
        alice.get(&state).await.ok()
    };
    let left = json!({ "alt_aliases": ["#b:example.org"], "x": 1 });
    assert_eq!(delete("a").await, left);
    assert_eq!(delete("b").await, json!({ "x": 1 }));
}

#[tokio::test]
async fn a_stranger_to_a_room_is_told_that_and_not_what_else_is_wrong() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({})).await;
    let path = format!("/rooms/{room}/messages");
    bob.get(&path).await.refused(403, "M_FORBIDDEN");
    alice.get(&path).await.refused(400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn a_name_for_one_room_is_not_found_in_the_directory() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = format!("/profile/{}/displayname", alice.user);
    alice
        .put(&path, json!({ "displayname": "Alice Cooper" }))
        .await
        .ok();
    let room = bob.room(json!({ "preset": "public_chat" })).await;
    alice.post(&format!("/join/{room}"), json!({})).await.ok();
    let member = format!("/rooms/{room}/state/m.room.member/{}", alice.user);
    let private = json!({ "membership": "join", "displayname": "Freddy" });
    alice.put(&member, private).await.ok();
    let search = async |term: &str| -> Vec<Value> {
        let found = bob
            .post("/user_directory/search", json!({ "search_term": term }))
            .await
            .ok();
        found["results"].as_array().unwrap().clone()
    };
    assert_eq!(search("alice").await[0]["display_name"], "Alice Cooper");
    assert!(search("freddy").await.is_empty());
}

#[tokio::test]
async fn the_directory_shows_a_user_to_themselves_if_it_shows_them_to_all() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let search = async || -> Vec<Value> {
        let question = json!({ "search_term": "alice" });
        let found = alice.post("/user_directory/search", question).await.ok();
        found["results"].as_array().unwrap().clone()
    };
    alice.room(json!({ "preset": "private_chat" })).await;
    assert!(search().await.is_empty());
    alice.room(json!({ "preset": "public_chat" })).await;
    assert_eq!(search().await[0]["user_id"], alice.user);
}

#[tokio::test]
async fn the_password_of_another_deletes_no_device() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let devices = alice.get("/devices").await.ok();
    let id = devices["devices"][0]["device_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let auth = json!({
        "type": "m.login.password", "password": "a long enough secret",
        "identifier": { "type": "m.id.user", "user": bob.user },
    });
    alice
        .call(
            Method::DELETE,
            &format!("/devices/{id}"),
            Some(json!({ "auth": auth })),
        )
        .await
        .refused(403, "M_FORBIDDEN");
    alice.get(&format!("/devices/{id}")).await.ok();
}
