//! Keys, their backup and messages between devices, as clients call them.

use http::Method;
use serde_json::{Value, json};

use super::server::{Client, Server};

async fn device(client: &Client<'_>) -> String {
    let me = client.get("/account/whoami").await.ok();
    me["device_id"].as_str().unwrap().to_owned()
}

/// What the next answer says of the one-time keys of a device.
async fn keys_left(client: &Client<'_>) -> Value {
    let answer = client.get("/sync").await.ok();
    answer["device_one_time_keys_count"]["signed_curve25519"].clone()
}

fn one_time_keys(text: &str) -> Value {
    let key = json!({ "key": text, "signatures": {} });
    json!({ "one_time_keys": { "signed_curve25519:AAAA": key } })
}

#[tokio::test]
async fn keys_are_uploaded_queried_and_claimed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let phone = device(&alice).await;
    let keys = json!({
        "user_id": alice.user, "device_id": phone, "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": { format!("ed25519:{phone}"): "x" }, "signatures": {},
    });
    let answer = alice
        .post("/keys/upload", json!({ "device_keys": keys }))
        .await
        .ok();
    assert_eq!(answer["one_time_key_counts"]["signed_curve25519"], 0);
    assert_eq!(keys_left(&alice).await, 0);
    let mut other = keys.clone();
    other["device_id"] = "OTHER".into();
    let refused = alice
        .post("/keys/upload", json!({ "device_keys": other }))
        .await;
    refused.refused(400, "M_INVALID_PARAM");
    let answer = alice.post("/keys/upload", one_time_keys("x")).await.ok();
    assert_eq!(answer["one_time_key_counts"]["signed_curve25519"], 1);
    let refused = alice.post("/keys/upload", one_time_keys("y")).await;
    refused.refused(400, "M_INVALID_PARAM");
    assert_eq!(keys_left(&alice).await, 1);

    let wanted = json!({ "device_keys": { &alice.user: [], "@x:elsewhere.test": [] } });
    let answer = bob.post("/keys/query", wanted).await.ok();
    assert_eq!(
        answer["device_keys"][&alice.user][&phone]["keys"],
        keys["keys"]
    );
    assert!(answer["failures"]["elsewhere.test"].is_object());

    let wanted = json!({ "one_time_keys": { &alice.user: { &phone: "signed_curve25519" } } });
    let answer = bob.post("/keys/claim", wanted.clone()).await.ok();
    let claimed = &answer["one_time_keys"][&alice.user][&phone];
    assert_eq!(claimed["signed_curve25519:AAAA"]["key"], "x");
    assert_eq!(keys_left(&alice).await, 0);
    let answer = bob.post("/keys/claim", wanted).await.ok();
    assert!(answer["one_time_keys"][&alice.user].is_null());
}

#[tokio::test]
async fn other_members_hear_of_changed_keys() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    bob.post(&format!("/rooms/{room}/join"), json!({}))
        .await
        .ok();
    let before = bob.get("/sync").await.ok();
    let from = before["next_batch"].as_str().unwrap();
    let phone = device(&alice).await;
    let keys = json!({
        "user_id": alice.user, "device_id": phone, "algorithms": [],
        "keys": { format!("ed25519:{phone}"): "x" }, "signatures": {},
    });
    alice
        .post("/keys/upload", json!({ "device_keys": keys }))
        .await
        .ok();
    let after = bob.get(&format!("/sync?since={from}")).await.ok();
    assert_eq!(after["device_lists"]["changed"], json!([alice.user]));
    let to = after["next_batch"].as_str().unwrap();
    let changes = bob
        .get(&format!("/keys/changes?from={from}&to={to}"))
        .await
        .ok();
    assert_eq!(changes, json!({ "changed": [alice.user], "left": [] }));

    alice
        .post(&format!("/rooms/{room}/leave"), json!({}))
        .await
        .ok();
    let last = bob.get(&format!("/sync?since={to}")).await.ok();
    assert_eq!(last["device_lists"]["left"], json!([alice.user]));
    let end = last["next_batch"].as_str().unwrap();
    let changes = bob
        .get(&format!("/keys/changes?from={to}&to={end}"))
        .await
        .ok();
    assert_eq!(changes, json!({ "changed": [], "left": [alice.user] }));
}

#[tokio::test]
async fn backups_answer_as_clients_expect() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    alice
        .get("/room_keys/version")
        .await
        .refused(404, "M_NOT_FOUND");
    let description = json!({
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": { "public_key": "abc", "signatures": {}, "more": 1 },
    });
    let made = alice
        .post("/room_keys/version", description.clone())
        .await
        .ok();
    let version = made["version"].as_str().unwrap();
    let shown = alice.get("/room_keys/version").await.ok();
    assert_eq!(shown["auth_data"], description["auth_data"]);
    assert_eq!(shown["count"], 0);

    let key = json!({
        "first_message_index": 1, "forwarded_count": 0, "is_verified": false,
        "session_data": { "ciphertext": "x", "ephemeral": "y", "mac": "z" },
    });
    let path = |version: &str| format!("/room_keys/keys/!r:a.b/s%2Ft%2B1?version={version}");
    let put = alice.put(&path(version), key.clone()).await.ok();
    assert_eq!(put["count"], 1);
    assert_ne!(put["etag"], shown["etag"]);
    assert_eq!(alice.get(&path(version)).await.ok(), key);
    let all = alice
        .get(&format!("/room_keys/keys?version={version}"))
        .await
        .ok();
    assert_eq!(all["rooms"]["!r:a.b"]["sessions"]["s/t+1"], key);

    let newer = alice.post("/room_keys/version", description).await.ok();
    let refused = alice.put(&path(version), key).await;
    refused.refused(403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(refused.body["current_version"], newer["version"]);
    alice.get(&path("77")).await.refused(404, "M_NOT_FOUND");
    let gone = alice.call(Method::DELETE, &path(version), None).await.ok();
    assert_eq!(gone["count"], 0);
    alice.get(&path(version)).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn messages_to_devices_arrive_once_and_are_acknowledged() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let body = json!({ "messages": { &alice.user: { "*": { "text": "x" } } } });
    alice.put("/sendToDevice/m.test/1", body.clone()).await.ok();
    alice.put("/sendToDevice/m.test/1", body).await.ok();
    let float = json!({ "messages": { &alice.user: { "*": { "text": 1.5 } } } });
    alice
        .put("/sendToDevice/m.test/2", float)
        .await
        .refused(400, "M_BAD_JSON");

    let first = alice.get("/sync").await.ok();
    let event = json!({ "sender": alice.user, "type": "m.test", "content": { "text": "x" } });
    assert_eq!(first["to_device"]["events"], json!([event]));
    let again = alice.get("/sync").await.ok();
    assert_eq!(again["to_device"]["events"], json!([event]));
    let since = again["next_batch"].as_str().unwrap();
    let next = alice.get(&format!("/sync?since={since}")).await.ok();
    assert!(
        next["to_device"]["events"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}
