//! Finding events by their words.

use serde_json::{Value, json};

use super::server::{Client, Server};

/// The category of the answer to a question.
async fn ask(user: &Client<'_>, token: &str, criteria: Value) -> Value {
    let body = json!({ "search_categories": { "room_events": criteria } });
    let path = format!("/search?next_batch={token}");
    let mut answer = user.post(&path, body).await.ok();
    answer["search_categories"]["room_events"].take()
}

fn bodies(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|one| one["result"]["content"]["body"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn events_are_found_with_what_surrounds_them() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({ "name": "The message room" })).await;
    for number in 1..=7 {
        alice
            .say(
                &room,
                &format!("t{number}"),
                &format!("Message number {number}"),
            )
            .await;
    }
    let criteria = json!({
        "search_term": "message 4", "keys": ["content.body"], "order_by": "recent",
        "filter": { "limit": 1, "rooms": [room.replace("%21", "!")] },
        "event_context": { "before_limit": 2, "after_limit": 2, "include_profile": true },
        "groupings": { "group_by": [{ "key": "sender" }] },
        "include_state": true,
    });
    let answer = ask(&alice, "", criteria).await;
    assert_eq!(answer["count"], 1);
    assert!(answer["next_batch"].is_string());
    assert_eq!(bodies(&answer), ["Message number 4"]);
    let context = &answer["results"][0]["context"];
    let texts = |list: &str| {
        let events = context[list].as_array().unwrap().iter();
        events
            .map(|event| event["content"]["body"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        texts("events_before"),
        ["Message number 3", "Message number 2"]
    );
    assert_eq!(
        texts("events_after"),
        ["Message number 5", "Message number 6"]
    );
    assert!(context["profile_info"][&alice.user].is_object());
    assert_eq!(answer["groups"]["sender"][&alice.user]["order"], 1);
    assert_eq!(answer["state"].as_object().unwrap().len(), 1);
    let named = ask(
        &alice,
        "",
        json!({ "search_term": "ROOM", "keys": ["content.name"] }),
    )
    .await;
    assert_eq!(named["results"][0]["result"]["type"], "m.room.name");
}

#[tokio::test]
async fn pages_go_on_in_both_orders() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (one, other) = (alice.room(json!({})).await, alice.room(json!({})).await);
    for number in 0..20 {
        let room = if number % 2 == 0 { &one } else { &other };
        alice
            .say(room, &format!("t{number}"), &format!("apple {number}"))
            .await;
    }
    for order in ["recent", "rank"] {
        let criteria =
            json!({ "search_term": "Apple", "order_by": order, "filter": { "limit": 8 } });
        let (mut token, mut found) = (String::new(), Vec::new());
        for expected in [8, 8, 4] {
            let answer = ask(&alice, &token, criteria.clone()).await;
            assert_eq!(answer["count"], 20);
            assert_eq!(bodies(&answer).len(), expected);
            found.extend(bodies(&answer).into_iter().map(ToOwned::to_owned));
            token = answer["next_batch"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(token, "");
        let newest_first: Vec<_> = (0..20)
            .rev()
            .map(|number| format!("apple {number}"))
            .collect();
        assert_eq!(
            found, newest_first,
            "equally good ones are in the order of time"
        );
    }
    let criteria = json!({ "search_term": "apple", "order_by": "rank" });
    let body = json!({ "search_categories": { "room_events": criteria } });
    let answer = alice.post("/search?next_batch=r5_20", body.clone()).await;
    answer.refused(400, "M_INVALID_PARAM");
    alice
        .post("/search?next_batch=x", body)
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn what_is_redacted_or_of_others_is_not_found() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    let gone = alice.say(&room, "t1", "pear tree").await;
    alice.say(&room, "t2", "pear").await;
    alice
        .put(&format!("/rooms/{room}/redact/{gone}/t3"), json!({}))
        .await
        .ok();
    let criteria = json!({ "search_term": "pear" });
    let answer = ask(&alice, "", criteria.clone()).await;
    assert_eq!(
        (bodies(&answer), &answer["count"]),
        (vec!["pear"], &json!(1))
    );
    assert_eq!(ask(&bob, "", criteria.clone()).await["count"], 0);
    bob.post(&format!("/join/{room}"), json!({})).await.ok();
    assert_eq!(ask(&bob, "", criteria.clone()).await["count"], 1);
    bob.post(&format!("/rooms/{room}/leave"), json!({}))
        .await
        .ok();
    alice.say(&room, "t4", "another pear").await;
    assert_eq!(
        ask(&bob, "", criteria.clone()).await["count"],
        1,
        "as of leaving"
    );
    let nothing = ask(&alice, "", json!({ "search_term": "..." })).await;
    assert_eq!(nothing["count"], 0);
}
