//! Several servers that speak with each other over TLS, in one process.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, sync::Arc};

use hearth_protocol::{SigningKey, sign_json};
use hearth_store::{Family, MemoryHints, Position, Store, Table, engines::rocksdb};
use hearth_testkit::{Network, Server};
use reqwest::Method;
use ruma::{RoomId, server_name};
use serde_json::{Value, json};

/// Where a server keeps what it has to send.
const OUTGOING: Table<Position, ()> = Table::new(138, "outgoing", Family::Log);
const QUEUES: Table<(String, Position), ()> = Table::new(205, "outbound_queues", Family::Log);
const BEHIND: Table<(String, String), ()> = Table::new(206, "outbound_behind", Family::Index);

async fn two() -> (Server, Server) {
    let network = Network::new().unwrap();
    let one = Server::start_in(&network, "one.test", |_| {})
        .await
        .unwrap();
    let two = Server::start_in(&network, "two.test", |_| {})
        .await
        .unwrap();
    (one, two)
}

#[tokio::test]
async fn a_server_tells_its_keys_and_vouches_for_others() {
    let (one, two) = two().await;
    let get = async |server: &Server, path: &str| {
        server
            .call(Method::GET, path, None, &Value::Null)
            .await
            .unwrap()
    };
    let (status, own) = get(&two, "/_matrix/key/v2/server").await;
    assert_eq!((status, &own["server_name"]), (200, &json!("two.test")));
    let (status, vouched) = get(&one, "/_matrix/key/v2/query/two.test").await;
    assert_eq!(status, 200, "{vouched}");
    let list = &vouched["server_keys"][0];
    assert_eq!(list["verify_keys"], own["verify_keys"]);
    let signers: Vec<_> = list["signatures"].as_object().unwrap().keys().collect();
    assert_eq!(signers, ["one.test", "two.test"]);
    let body = json!({ "server_keys": { "two.test": {}, "nowhere.test": {}, "one.test": {} } });
    let path = "/_matrix/key/v2/query";
    let (status, batch) = one.call(Method::POST, path, None, &body).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(batch["server_keys"].as_array().unwrap().len(), 2, "{batch}");
    let (status, version) = get(&one, "/_matrix/federation/v1/version").await;
    assert_eq!(
        (status, &version["server"]["name"]),
        (200, &json!("Hearth"))
    );
    let (status, refused) = get(
        &one,
        "/_matrix/federation/v1/query/profile?user_id=@a:one.test",
    )
    .await;
    assert_eq!(
        (status, &refused["errcode"]),
        (401, &json!("M_UNAUTHORIZED"))
    );
    let (status, _) = get(&one, "/_matrix/federation/v1/send/1").await;
    assert!(matches!(status, 404 | 405));
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

/// What `path` of `server` answers to `token`, which has to be 200.
async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &Value) -> Value {
    let path = format!("/_matrix/client/v3{path}");
    let (status, answer) = server.call(method, &path, Some(token), body).await.unwrap();
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Syncs until `found` finds something.
async fn wait_for<T>(server: &Server, token: &str, found: impl Fn(&Value) -> Option<T>) -> T {
    let mut since = String::new();
    for _ in 0..60 {
        let path = format!("/sync?timeout=2000{since}");
        let answer = ask(server, Method::GET, &path, token, &Value::Null).await;
        if let Some(found) = found(&answer) {
            return found;
        }
        since = format!("&since={}", answer["next_batch"].as_str().unwrap());
    }
    panic!("what is waited for does not come");
}

/// The body of a message in the timeline of a joined room.
fn message(answer: &Value, room: &str, body: &str) -> Option<Value> {
    let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array()?;
    events
        .iter()
        .find(|event| event["content"]["body"] == body)
        .cloned()
}

async fn say(server: &Server, token: &str, room: &str, body: &str) {
    let path = format!("/rooms/{room}/send/m.room.message/{body}");
    let content = json!({ "msgtype": "m.text", "body": body });
    ask(server, Method::PUT, &path, token, &content).await;
}

#[tokio::test]
async fn a_room_is_joined_by_alias_and_messages_go_both_ways() {
    for version in ["1", "6", "10", "12"] {
        let (one, two) = two().await;
        let (alice, bob) = (
            one.register("alice").await.unwrap(),
            two.register("bob").await.unwrap(),
        );
        let settings =
            json!({ "preset": "public_chat", "room_alias_name": "lobby", "room_version": version });
        let made = ask(&one, Method::POST, "/createRoom", &alice, &settings).await;
        let room = made["room_id"].as_str().unwrap();
        say(&one, &alice, room, "before").await;
        let path = "/join/%23lobby:one.test";
        let joined = ask(&two, Method::POST, path, &bob, &json!({})).await;
        assert_eq!(joined["room_id"], room);
        let members = ask(
            &two,
            Method::GET,
            &format!("/rooms/{room}/joined_members"),
            &bob,
            &Value::Null,
        )
        .await;
        assert_eq!(members["joined"].as_object().unwrap().len(), 2, "{members}");
        say(&two, &bob, room, "from-two").await;
        wait_for(&one, &alice, |answer| message(answer, room, "from-two")).await;
        say(&one, &alice, room, "from-one").await;
        wait_for(&two, &bob, |answer| message(answer, room, "from-one")).await;
        let path = format!("/rooms/{room}/leave");
        ask(&two, Method::POST, &path, &bob, &json!({})).await;
        wait_for(&one, &alice, |answer| {
            let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array()?;
            let left = |event: &&Value| event["content"]["membership"] == "leave";
            events.iter().find(left).cloned()
        })
        .await;
        one.stop().await.unwrap();
        two.stop().await.unwrap();
    }
}

#[tokio::test]
async fn invites_go_between_servers_and_can_be_declined() {
    let (one, two) = two().await;
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let settings =
        json!({ "preset": "private_chat", "name": "secret", "invite": ["@bob:two.test"] });
    let made = ask(&one, Method::POST, "/createRoom", &alice, &settings).await;
    let room = made["room_id"].as_str().unwrap();
    let shown = wait_for(&two, &bob, |answer| {
        answer["rooms"]["invite"][room]["invite_state"]["events"]
            .as_array()
            .cloned()
    })
    .await;
    assert!(
        shown
            .iter()
            .any(|event| event["content"]["name"] == "secret"),
        "{shown:?}"
    );
    assert!(
        shown.iter().all(|event| event.get("auth_events").is_none()),
        "{shown:?}"
    );
    ask(
        &two,
        Method::POST,
        &format!("/rooms/{room}/join"),
        &bob,
        &json!({}),
    )
    .await;
    say(&two, &bob, room, "hello").await;
    wait_for(&one, &alice, |answer| message(answer, room, "hello")).await;
    let made = ask(&one, Method::POST, "/createRoom", &alice, &settings).await;
    let other = made["room_id"].as_str().unwrap();
    wait_for(&two, &bob, |answer| {
        answer["rooms"]["invite"][other].as_object().cloned()
    })
    .await;
    ask(
        &two,
        Method::POST,
        &format!("/rooms/{other}/leave"),
        &bob,
        &json!({}),
    )
    .await;
    wait_for(&one, &alice, |answer| {
        let events = answer["rooms"]["join"][other]["timeline"]["events"].as_array()?;
        let left = |event: &&Value| event["content"]["membership"] == "leave";
        events.iter().find(left).cloned()
    })
    .await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn who_was_invited_by_an_address_is_invited_once_it_is_known_whose_it_is() {
    let (one, two) = two().await;
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let key = |seed| SigningKey::generate(server_name!("id.test"), "ed25519:0", [seed; 32]);
    let (right, wrong) = (key(1).unwrap(), key(2).unwrap());
    let public = right.verify_key().encode();
    let settings = json!({ "preset": "private_chat", "initial_state": [{
        "type": "m.room.third_party_invite",
        "state_key": "token",
        "content": {
            "display_name": "b...@two.test",
            "key_validity_url": "https://id.test/valid",
            "public_key": public,
            "public_keys": [{ "public_key": public }],
        },
    }] });
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let made = ask(&one, Method::POST, "/createRoom", &alice, &settings).await;
        rooms.push(made["room_id"].as_str().unwrap().to_owned());
    }
    let invite = |room: &str, key: &SigningKey| {
        let signed = json!({ "mxid": "@bob:two.test", "token": "token" });
        let mut signed = serde_json::from_value(signed).unwrap();
        sign_json(&mut signed, key).unwrap();
        json!({
            "medium": "email", "address": "bob@two.test", "mxid": "@bob:two.test",
            "room_id": room, "sender": "@alice:one.test", "signed": signed,
        })
    };
    let bound = json!({
        "medium": "email", "address": "bob@two.test", "mxid": "@bob:two.test",
        "invites": [invite(&rooms[0], &wrong), invite(&rooms[1], &right)],
    });
    let path = "/_matrix/federation/v1/3pid/onbind";
    let (status, answer) = two.call(Method::PUT, path, None, &bound).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let invited = wait_for(&two, &bob, |answer| {
        let invited = answer["rooms"]["invite"].as_object()?;
        Some(invited.keys().cloned().collect::<Vec<_>>())
    })
    .await;
    assert_eq!(invited, [rooms[1].as_str()]);
    let path = format!("/rooms/{}/state/m.room.member/@bob:two.test", rooms[1]);
    let member = ask(&one, Method::GET, &path, &alice, &Value::Null).await;
    assert_eq!(
        member["third_party_invite"]["display_name"],
        "b...@two.test"
    );
    let path = format!("/rooms/{}/join", rooms[1]);
    ask(&two, Method::POST, &path, &bob, &json!({})).await;

    let nobody =
        json!({ "medium": "email", "address": "a", "mxid": "@no:two.test", "invites": [] });
    let path = "/_matrix/federation/v1/3pid/onbind";
    let (status, answer) = two.call(Method::PUT, path, None, &nobody).await.unwrap();
    assert_eq!((status, &answer["errcode"]), (404, &json!("M_NOT_FOUND")));
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

/// A public room of `@alice:one.test` with ten messages, which `@bob:two.test` then joined.
async fn shared_room(one: &Server, two: &Server, alice: &str, bob: &str) -> String {
    let settings =
        json!({ "preset": "public_chat", "room_alias_name": "lobby", "visibility": "public" });
    let made = ask(one, Method::POST, "/createRoom", alice, &settings).await;
    let room = made["room_id"].as_str().unwrap().to_owned();
    for number in 0..10 {
        say(one, alice, &room, &format!("old-{number}")).await;
    }
    let path = "/join/%23lobby:one.test";
    ask(two, Method::POST, path, bob, &json!({})).await;
    room
}

#[tokio::test]
async fn what_was_said_before_is_fetched_by_who_reads_back() {
    let (one, two) = two().await;
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let room = shared_room(&one, &two, &alice, &bob).await;
    let path = format!("/rooms/{room}/messages?dir=b&limit=50");
    let page = ask(&two, Method::GET, &path, &bob, &Value::Null).await;
    let bodies: Vec<_> = page["chunk"].as_array().unwrap().iter().collect();
    for number in 0..10 {
        let body = json!(format!("old-{number}"));
        let found = bodies.iter().any(|event| event["content"]["body"] == body);
        assert!(found, "old-{number} is missing of {}", bodies.len());
    }
    assert!(bodies.iter().any(|event| event["type"] == "m.room.create"));
    // None of it is news.
    let sync = ask(&two, Method::GET, "/sync", &bob, &Value::Null).await;
    assert!(message(&sync, &room, "old-9").is_none());
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_event_goes_between_servers_too() {
    let (one, two) = two().await;
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let room = shared_room(&one, &two, &alice, &bob).await;
    say(&one, &alice, &room, "news").await;
    let seen = wait_for(&two, &bob, |answer| message(answer, &room, "news")).await;
    // Who types, and how far somebody has read.
    let path = format!("/rooms/{room}/typing/@bob:two.test");
    let typing = json!({ "typing": true, "timeout": 30_000 });
    ask(&two, Method::PUT, &path, &bob, &typing).await;
    let event = seen["event_id"].as_str().unwrap();
    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    ask(&two, Method::POST, &path, &bob, &json!({})).await;
    let ephemeral = |answer: &Value, kind: &str| {
        let events = answer["rooms"]["join"][&room]["ephemeral"]["events"].as_array()?;
        events
            .iter()
            .find(|event| event["type"] == kind)
            .map(|event| event["content"].to_string())
    };
    wait_for(&one, &alice, |answer| {
        ephemeral(answer, "m.typing").filter(|text| text.contains("@bob:two.test"))
    })
    .await;
    wait_for(&one, &alice, |answer| {
        ephemeral(answer, "m.receipt").filter(|text| text.contains("@bob:two.test"))
    })
    .await;
    // Messages to devices.
    let messages = json!({ "messages": { "@alice:one.test": { "*": { "hello": "device" } } } });
    let path = "/sendToDevice/org.example.hello/1";
    ask(&two, Method::PUT, path, &bob, &messages).await;
    let got = wait_for(&one, &alice, |answer| {
        answer["to_device"]["events"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(got["sender"], "@bob:two.test");
    assert_eq!(got["content"]["hello"], "device");
    // Profiles and public rooms.
    let path = "/profile/@alice:one.test/displayname";
    ask(
        &one,
        Method::PUT,
        path,
        &alice,
        &json!({ "displayname": "Alice" }),
    )
    .await;
    let profile = ask(
        &two,
        Method::GET,
        "/profile/@alice:one.test",
        &bob,
        &Value::Null,
    )
    .await;
    assert_eq!(profile["displayname"], "Alice");
    let public = ask(
        &two,
        Method::GET,
        "/publicRooms?server=one.test",
        &bob,
        &Value::Null,
    )
    .await;
    assert_eq!(public["chunk"][0]["room_id"], room.as_str());
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_sent_to_a_server_that_was_down_comes_later() {
    let network = Network::new().unwrap();
    let one = Server::start_in(&network, "one.test", |_| {})
        .await
        .unwrap();
    let two = Server::start_in(&network, "two.test", |_| {})
        .await
        .unwrap();
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let room = shared_room(&one, &two, &alice, &bob).await;
    say(&one, &alice, &room, "up").await;
    wait_for(&two, &bob, |answer| message(answer, &room, "up")).await;
    // What is on its way when the sender stops is sent after its next start.
    let one = one.restart().await.unwrap();
    say(&one, &alice, &room, "again").await;
    wait_for(&two, &bob, |answer| message(answer, &room, "again")).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_lost_on_its_way_is_found_by_comparing_heads() {
    let (one, two) = two().await;
    if one.nodes() > 1 {
        // What is lost is taken out of a folder.
        return;
    }
    let (alice, bob) = (
        one.register("alice").await.unwrap(),
        two.register("bob").await.unwrap(),
    );
    let room = shared_room(&one, &two, &alice, &bob).await;
    say(&one, &alice, &room, "arrives").await;
    wait_for(&two, &bob, |answer| message(answer, &room, "arrives")).await;
    // Where the other server remembers it to be.
    let address = one.url("").replace("https://", "");
    let one = one
        .restart_with(|config| {
            config.listen.addresses = vec![address.parse().unwrap()];
            config.federation.deny = vec!["two.test".to_owned()];
        })
        .await
        .unwrap();
    say(&one, &alice, &room, "lost").await;
    say(&one, &alice, &room, "lost-too").await;
    let forget = async |folder: &Path| {
        let options = rocksdb::Options::at(folder.join("store"));
        let engine = rocksdb::open(options).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        store.delete_prefix(&OUTGOING, ()).await.unwrap();
        store.delete_prefix(&QUEUES, ()).await.unwrap();
        store.delete_prefix(&BEHIND, ()).await.unwrap();
        store.engine().close().await.unwrap();
    };
    let one = one.restart_after(forget).await.unwrap();
    let one = one
        .restart_with(|config| config.federation.deny.clear())
        .await
        .unwrap();
    let room_id = RoomId::parse(&*room).unwrap();
    assert_eq!(two.rooms().unwrap().heal(&room_id).await.unwrap(), 1);
    wait_for(&two, &bob, |answer| message(answer, &room, "lost-too")).await;
    let path = format!("/rooms/{room}/messages?dir=b&limit=50");
    let page = ask(&two, Method::GET, &path, &bob, &Value::Null).await;
    let mut bodies = page["chunk"].as_array().unwrap().iter();
    assert!(bodies.any(|event| event["content"]["body"] == "lost"));
    // Nothing more is missing, on either side.
    assert_eq!(two.rooms().unwrap().heal(&room_id).await.unwrap(), 0);
    assert_eq!(one.rooms().unwrap().heal(&room_id).await.unwrap(), 0);
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}
