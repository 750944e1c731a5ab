//! What users show of themselves and what clients keep for them.

use http::Method;
use serde_json::{Value, json};

use super::server::Server;

#[tokio::test]
async fn a_profile_is_shown_in_the_rooms() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    let path = format!("/profile/{}", alice.user);
    assert_eq!(bob.get(&path).await.ok(), json!({}));
    let name = format!("{path}/displayname");
    assert_eq!(bob.get(&name).await.ok(), json!({}));
    alice
        .put(&name, json!({ "displayname": "Alice" }))
        .await
        .ok();
    let avatar = json!({ "avatar_url": "mxc://example.org/a" });
    alice.put(&format!("{path}/avatar_url"), avatar).await.ok();
    assert_eq!(bob.get(&name).await.ok(), json!({ "displayname": "Alice" }));
    let member = format!("/rooms/{room}/state/m.room.member/{}", alice.user);
    let member = alice.get(&member).await.ok();
    assert_eq!(member["displayname"], "Alice");
    assert_eq!(member["avatar_url"], "mxc://example.org/a");
    assert_eq!(member["membership"], "join");

    let zone = format!("{path}/m.tz");
    bob.get(&zone).await.refused(404, "M_NOT_FOUND");
    alice
        .put(&zone, json!({ "m.tz": "Europe/Paris" }))
        .await
        .ok();
    assert_eq!(bob.get(&zone).await.ok(), json!({ "m.tz": "Europe/Paris" }));
    alice.call(Method::DELETE, &zone, None).await.ok();
    bob.get(&zone).await.refused(404, "M_NOT_FOUND");
    bob.put(&name, json!({ "displayname": "Bob" }))
        .await
        .refused(403, "M_FORBIDDEN");
    bob.get("/profile/@nobody:example.org")
        .await
        .refused(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn account_data_is_private_and_reaches_sync() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = format!("/user/{}/account_data/org.example", alice.user);
    alice.get(&path).await.refused(404, "M_NOT_FOUND");
    let first = alice.get("/sync").await.ok();
    let content = json!({ "a": { "b": [1, null] } });
    alice.put(&path, content.clone()).await.ok();
    assert_eq!(alice.get(&path).await.ok(), content);
    bob.get(&path).await.refused(403, "M_FORBIDDEN");
    bob.put(&path, json!({})).await.refused(403, "M_FORBIDDEN");
    alice.put(&path, json!([])).await.refused(400, "M_BAD_JSON");
    for kind in ["m.push_rules", "m.fully_read"] {
        let path = format!("/user/{}/account_data/{kind}", alice.user);
        alice.put(&path, json!({})).await.refused(405, "M_BAD_JSON");
    }
    let since = first["next_batch"].as_str().unwrap();
    let news = alice.get(&format!("/sync?since={since}")).await.ok();
    let events = news["account_data"]["events"].as_array().unwrap();
    assert_eq!(
        *events,
        [json!({ "type": "org.example", "content": content })]
    );
}

#[tokio::test]
async fn tags_and_room_account_data() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    let path = format!("/user/{}/rooms/{room}", alice.user);
    let tag = format!("{path}/tags/m.favourite");
    alice.put(&tag, json!({ "order": 0.25 })).await.ok();
    alice.put(&format!("{path}/tags/u.x"), json!({})).await.ok();
    let tags = alice.get(&format!("{path}/tags")).await.ok();
    assert_eq!(
        tags,
        json!({ "tags": { "m.favourite": { "order": 0.25 }, "u.x": {} } })
    );
    alice.call(Method::DELETE, &tag, None).await.ok();
    let stored = alice.get(&format!("{path}/account_data/m.tag")).await.ok();
    assert_eq!(stored, json!({ "tags": { "u.x": {} } }));
    let data = format!("{path}/account_data/org.example");
    alice.put(&data, json!({ "n": 1 })).await.ok();
    assert_eq!(alice.get(&data).await.ok(), json!({ "n": 1 }));
}

#[tokio::test]
async fn a_filter_comes_back_as_it_was_sent() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/user/{}/filter", alice.user);
    let filter = json!({ "room": { "timeline": { "limit": 5 } }, "org.example": { "x": [1.5] } });
    let id = alice.post(&path, filter.clone()).await.ok();
    let id = id["filter_id"].as_str().unwrap();
    assert_eq!(alice.get(&format!("{path}/{id}")).await.ok(), filter);
    alice
        .get(&format!("{path}/none"))
        .await
        .refused(404, "M_NOT_FOUND");
    alice
        .post(
            &path,
            json!({ "room": { "timeline": { "limit": "many" } } }),
        )
        .await
        .refused(400, "M_BAD_JSON");
}

#[tokio::test]
async fn push_rules_are_read_ordered_and_removed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let all = alice.get("/pushrules/").await.ok();
    assert_eq!(all["global"]["override"][0]["rule_id"], ".m.rule.master");
    assert_eq!(alice.get("/pushrules").await.ok(), all);
    assert_eq!(alice.get("/pushrules/global/").await.ok(), all["global"]);

    let rule = |id: &str| format!("/pushrules/global/content/{id}");
    let body = json!({ "pattern": "tea", "actions": ["notify"] });
    alice.put(&rule("one"), body.clone()).await.ok();
    alice.put(&rule("two"), body.clone()).await.ok();
    alice
        .put(&format!("{}?after=one", rule("three")), body.clone())
        .await
        .ok();
    alice
        .put(&format!("{}?before=two", rule("four")), body.clone())
        .await
        .ok();
    let all = alice.get("/pushrules/global/").await.ok();
    let content: Vec<&str> = all["content"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|rule| rule["rule_id"].as_str())
        .collect();
    let own: Vec<&str> = content
        .into_iter()
        .filter(|id| !id.starts_with('.'))
        .collect();
    let place = |id: &str| own.iter().position(|other| *other == id).unwrap();
    assert!(place("three") > place("one") && place("four") < place("two"));

    let one = rule("one");
    alice
        .put(&format!("{one}/enabled"), json!({ "enabled": false }))
        .await
        .ok();
    alice
        .put(&format!("{one}/actions"), json!({ "actions": [] }))
        .await
        .ok();
    let now = alice.get(&one).await.ok();
    assert_eq!(now["enabled"], false);
    assert_eq!(now["actions"], json!([]));
    assert_eq!(now["pattern"], "tea");
    let enabled = alice.get(&format!("{one}/enabled")).await.ok();
    assert_eq!(enabled, json!({ "enabled": false }));
    let actions = alice.get(&format!("{one}/actions")).await.ok();
    assert_eq!(actions, json!({ "actions": [] }));
    alice.call(Method::DELETE, &one, None).await.ok();
    alice.get(&one).await.refused(404, "M_NOT_FOUND");
    alice
        .call(Method::DELETE, &one, None)
        .await
        .refused(404, "M_NOT_FOUND");
    alice
        .put(&rule(".mine"), body.clone())
        .await
        .refused(400, "M_INVALID_PARAM");
    alice
        .put(&format!("{}?after=none", rule("five")), body)
        .await
        .refused(404, "M_NOT_FOUND");
    let master = "/pushrules/global/override/.m.rule.master";
    alice
        .call(Method::DELETE, master, None)
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn pushers_are_kept_and_forgotten() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let pusher = json!({
        "app_id": "org.example", "pushkey": "key", "kind": "http", "lang": "en",
        "app_display_name": "App", "device_display_name": "Phone",
        "data": { "url": "https://push.example.org/_matrix/push/v1/notify" },
    });
    alice.post("/pushers/set", pusher.clone()).await.ok();
    let kept = alice.get("/pushers").await.ok();
    assert_eq!(kept["pushers"][0]["pushkey"], "key");
    assert_eq!(kept["pushers"][0]["data"], pusher["data"]);
    let mut bad = pusher;
    bad["data"]["url"] = "file:///etc".into();
    alice
        .post("/pushers/set", bad)
        .await
        .refused(400, "M_INVALID_PARAM");
    let gone = json!({ "app_id": "org.example", "pushkey": "key", "kind": Value::Null });
    alice.post("/pushers/set", gone).await.ok();
    assert_eq!(alice.get("/pushers").await.ok(), json!({ "pushers": [] }));
}

#[tokio::test]
async fn small_things_that_clients_ask_at_their_start() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    assert_eq!(
        alice.get("/account/3pid").await.ok(),
        json!({ "threepids": [] })
    );
    let relay = alice.get("/voip/turnServer").await;
    relay.refused(404, "M_NOT_FOUND");
    let path = format!("/user/{}/openid/request_token", alice.user);
    let token = alice.post(&path, json!({})).await.ok();
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["matrix_server_name"], "example.org");
    let token = token["access_token"].as_str().unwrap();
    let user = server.users.openid_user(token).await.unwrap();
    assert_eq!(user.unwrap(), alice.user.as_str());
    bob.post(&path, json!({})).await.refused(403, "M_FORBIDDEN");
}
