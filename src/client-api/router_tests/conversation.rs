//! What people do, through the router.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::server::Server;

#[tokio::test]
async fn a_room_is_made_found_joined_and_talked_in() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice
        .room(json!({ "preset": "public_chat", "name": "Tea", "room_alias_name": "tea", "visibility": "public" }))
        .await;
    let alias = bob.get("/directory/room/%23tea:example.org").await.ok();
    assert_eq!(alias["room_id"].as_str().unwrap().replace('!', "%21"), room);
    let listed = bob
        .post(
            "/publicRooms",
            json!({ "filter": { "generic_search_term": "tea" } }),
        )
        .await
        .ok();
    assert_eq!(listed["chunk"][0]["name"], "Tea");
    bob.post("/join/%23tea:example.org", json!({})).await.ok();

    let first = alice.say(&room, "1", "hello").await;
    assert_eq!(alice.say(&room, "1", "hello").await, first);
    let elsewhere = alice.room(json!({})).await;
    assert_ne!(alice.say(&elsewhere, "1", "hello").await, first);
    let seen = bob.get(&format!("/rooms/{room}/event/{first}")).await.ok();
    assert_eq!(seen["content"]["body"], "hello");
    assert_eq!(seen["unsigned"]["transaction_id"], Value::Null);
    let own = alice
        .get(&format!("/rooms/{room}/event/{first}"))
        .await
        .ok();
    assert_eq!(own["unsigned"]["transaction_id"], "1");

    let members = bob.get(&format!("/rooms/{room}/joined_members")).await.ok();
    assert!(members["joined"][&alice.user].is_object());
    let name = bob
        .get(&format!("/rooms/{room}/state/m.room.name"))
        .await
        .ok();
    assert_eq!(name, json!({ "name": "Tea" }));
    let whole = bob
        .get(&format!("/rooms/{room}/state/m.room.name/?format=event"))
        .await
        .ok();
    assert_eq!(whole["type"], "m.room.name");
}

#[tokio::test]
async fn pages_reach_the_beginning_and_end_there() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    for n in 0..25 {
        alice.say(&room, &n.to_string(), &n.to_string()).await;
    }
    let (mut from, mut texts) = (String::new(), Vec::new());
    loop {
        let path = format!("/rooms/{room}/messages?dir=b&limit=7{from}");
        let page = alice.get(&path).await.ok();
        for event in page["chunk"].as_array().unwrap() {
            texts.extend(event["content"]["body"].as_str().map(ToOwned::to_owned));
        }
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).rev().map(|n| n.to_string()).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "private_chat" })).await;
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .refused(403, "M_FORBIDDEN");
    bob.get(&format!("/rooms/{room}/messages?dir=b"))
        .await
        .refused(403, "M_FORBIDDEN");
    bob.get(&format!("/rooms/{room}/members"))
        .await
        .refused(403, "M_FORBIDDEN");
    let secret = alice.say(&room, "1", "secret").await;
    bob.get(&format!("/rooms/{room}/event/{secret}"))
        .await
        .refused(404, "M_NOT_FOUND");

    alice
        .post(
            &format!("/rooms/{room}/invite"),
            json!({ "user_id": bob.user }),
        )
        .await
        .ok();
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .ok();
    alice
        .post(
            &format!("/rooms/{room}/ban"),
            json!({ "user_id": bob.user }),
        )
        .await
        .ok();
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .refused(403, "M_FORBIDDEN");
    bob.post(&format!("/rooms/{room}/forget"), json!({}))
        .await
        .ok();
    bob.get(&format!("/rooms/{room}/messages?dir=b"))
        .await
        .refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn an_alias_leads_to_one_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({ "room_alias_name": "one" })).await;
    let body = json!({ "room_id": room.replace("%21", "!") });
    let taken = alice
        .put("/directory/room/%23one:example.org", body.clone())
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    alice
        .put("/directory/room/%23two:example.org", body)
        .await
        .ok();
    alice
        .call(Method::DELETE, "/directory/room/%23two:example.org", None)
        .await
        .ok();
    alice
        .get("/directory/room/%23two:example.org")
        .await
        .refused(404, "M_NOT_FOUND");
    alice
        .post("/createRoom", json!({ "room_alias_name": "one" }))
        .await
        .refused(400, "M_ROOM_IN_USE");
}

#[tokio::test]
async fn relations_and_threads_are_found() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    let root = alice.say(&room, "1", "root").await;
    let parent = root.replace("%24", "$");
    let relate = |rel_type: &str, key: Option<&str>| {
        let mut relation = json!({ "rel_type": rel_type, "event_id": parent });
        if let Some(key) = key {
            relation["key"] = json!(key);
        }
        json!({ "body": "x", "msgtype": "m.text", "m.relates_to": relation })
    };
    let path = |event_type: &str, txn: &str| format!("/rooms/{room}/send/{event_type}/{txn}");
    alice
        .put(&path("m.reaction", "2"), relate("m.annotation", Some("+")))
        .await
        .ok();
    alice
        .put(&path("m.room.message", "3"), relate("m.thread", None))
        .await
        .ok();

    let v1 = format!("/_matrix/client/v1/rooms/{room}");
    let all = alice.get(&format!("{v1}/relations/{root}")).await.ok();
    assert_eq!(all["chunk"].as_array().unwrap().len(), 2);
    let thread = alice
        .get(&format!("{v1}/relations/{root}/m.thread"))
        .await
        .ok();
    assert_eq!(thread["chunk"].as_array().unwrap().len(), 1);
    let path = format!("{v1}/relations/{root}/m.annotation/m.reaction");
    let reactions = alice.get(&path).await.ok();
    assert_eq!(reactions["chunk"][0]["type"], "m.reaction");
    let threads = alice.get(&format!("{v1}/threads")).await.ok();
    assert_eq!(threads["chunk"][0]["event_id"], parent);
}

#[tokio::test]
async fn receipts_typing_and_reports_are_taken() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    let event = alice.say(&room, "1", "x").await;
    alice
        .post(&format!("/rooms/{room}/receipt/m.read/{event}"), json!({}))
        .await
        .ok();
    alice
        .post(
            &format!("/rooms/{room}/receipt/m.nonsense/{event}"),
            json!({}),
        )
        .await
        .refused(400, "M_INVALID_PARAM");
    let markers = json!({ "m.fully_read": event.replace("%24", "$"), "m.read.private": event.replace("%24", "$") });
    alice
        .post(&format!("/rooms/{room}/read_markers"), markers)
        .await
        .ok();
    let typing = format!("/rooms/{room}/typing/{}", alice.user);
    alice
        .put(&typing, json!({ "typing": true, "timeout": 1000 }))
        .await
        .ok();
    alice
        .put(
            &format!("/rooms/{room}/typing/@bob:example.org"),
            json!({ "typing": false }),
        )
        .await
        .refused(403, "M_FORBIDDEN");
    alice
        .post(
            &format!("/rooms/{room}/report/{event}"),
            json!({ "reason": "x" }),
        )
        .await
        .ok();
    alice
        .post(&format!("/rooms/{room}/report/%24nothing"), json!({}))
        .await
        .refused(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_sync_waits_for_news_and_no_longer_than_the_server_lives() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "invite": [bob.user] })).await;
    let id = room.replace("%21", "!");
    let first = bob.get("/sync").await.ok();
    assert!(first["rooms"]["invite"][&id].is_object());
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .ok();
    let since = |answer: &Value| answer["next_batch"].as_str().unwrap().to_owned();
    let path = format!("/sync?timeout=0&since={}", since(&first));
    let joined = bob.get(&path).await.ok();
    assert!(joined["rooms"]["join"][&id].is_object());

    let path = format!("/sync?timeout=60000&since={}", since(&joined));
    let (woken, _) = tokio::join!(bob.get(&path), alice.say(&room, "1", "hello"));
    let woken = woken.ok();
    let news = &woken["rooms"]["join"][&id]["timeline"]["events"];
    assert_eq!(news[0]["content"]["body"], "hello");

    let path = format!("/sync?timeout=60000&since={}", since(&woken));
    let close = async { server.sync.close() };
    let (ended, ()) = tokio::join!(bob.get(&path), close);
    assert_eq!(ended.ok()["rooms"], Value::Null);
}

#[tokio::test]
async fn pages_go_on_where_a_sync_began() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    let id = room.replace("%21", "!");
    for n in 0..15 {
        alice.say(&room, &n.to_string(), &n.to_string()).await;
    }
    let filter = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A5%7D%7D%7D";
    let answer = alice.get(&format!("/sync?filter={filter}")).await.ok();
    let timeline = &answer["rooms"]["join"][&id]["timeline"];
    assert_eq!(timeline["events"][0]["content"]["body"], "10");
    assert_eq!(timeline["events"][0]["unsigned"]["transaction_id"], "10");
    let from = timeline["prev_batch"].as_str().unwrap();
    let page = alice
        .get(&format!("/rooms/{room}/messages?dir=b&limit=3&from={from}"))
        .await
        .ok();
    let events = page["chunk"].as_array().unwrap();
    let texts: Vec<_> = events
        .iter()
        .map(|event| event["content"]["body"].clone())
        .collect();
    assert_eq!(texts, ["9", "8", "7"]);
}
