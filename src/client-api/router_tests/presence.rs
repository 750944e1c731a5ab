//! Who is there, as others see it.

use serde_json::{Value, json};

use super::server::{Client, Server};

/// Syncs until there is news of presence; gives up after many answers, each of which waits for news.
async fn told(reader: &Client<'_>, since: &mut String, of: &str) -> Value {
    for _ in 0..20 {
        let path = format!("/sync?timeout=2000&set_presence=offline&since={since}");
        let answer = reader.get(&path).await.ok();
        *since = answer["next_batch"].as_str().unwrap().to_owned();
        let events = answer["presence"]["events"].as_array().cloned();
        let found = events.unwrap_or_default().into_iter().rev();
        if let Some(event) = found.into_iter().find(|event| event["sender"] == of) {
            return event["content"].clone();
        }
    }
    Value::Null
}

async fn first(reader: &Client<'_>) -> String {
    let answer = reader.get("/sync?set_presence=offline").await.ok();
    answer["next_batch"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn those_who_share_a_room_hear_of_each_other() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    let mut since = first(&bob).await;

    let status = format!("/presence/{}/status", alice.user);
    let body = json!({ "presence": "online", "status_msg": "Testing" });
    alice.put(&status, body).await.ok();
    let content = told(&bob, &mut since, &alice.user).await;
    assert_eq!(content["presence"], "online");
    assert_eq!(content["status_msg"], "Testing");
    assert_eq!(content["currently_active"], true);
    let seen = bob.get(&status).await.ok();
    assert_eq!(
        (&seen["presence"], &seen["status_msg"]),
        (&json!("online"), &json!("Testing"))
    );

    alice.get("/sync?set_presence=unavailable").await.ok();
    let content = told(&bob, &mut since, &alice.user).await;
    assert_eq!(content["presence"], "unavailable");
    alice
        .put(&status, json!({ "presence": "offline" }))
        .await
        .ok();
    let content = told(&bob, &mut since, &alice.user).await;
    assert_eq!(content["presence"], "offline");
}

#[tokio::test]
async fn who_comes_in_is_seen_as_they_are() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    bob.get("/sync").await.ok();
    let mut since = first(&alice).await;
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    let content = told(&alice, &mut since, &bob.user).await;
    assert_eq!(content["presence"], "online");
    let whole = alice.get("/sync").await.ok();
    assert_eq!(whole["presence"]["events"][0]["sender"], bob.user.as_str());
}

#[tokio::test]
async fn strangers_are_told_nothing() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let status = format!("/presence/{}/status", alice.user);
    alice
        .put(&status, json!({ "presence": "online" }))
        .await
        .ok();
    bob.get(&status).await.refused(403, "M_FORBIDDEN");
    let body = json!({ "presence": "online" });
    bob.put(&status, body).await.refused(403, "M_FORBIDDEN");
    let odd = alice.put(&status, json!({ "presence": "asleep" })).await;
    odd.refused(400, "M_INVALID_PARAM");
    alice
        .get("/sync?set_presence=asleep")
        .await
        .refused(400, "M_INVALID_PARAM");
    let answer = bob.get("/sync").await.ok();
    assert_eq!(answer.get("presence"), None);
}
