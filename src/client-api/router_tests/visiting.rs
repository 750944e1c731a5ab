//! Those who are not in a room, or not quite: guests, and who looks in from outside.

use http::Method;
use serde_json::{Value, json};

use super::server::{Client, Server};

async fn guest(server: &Server) -> Client<'_> {
    let path = "/_matrix/client/v3/register?kind=guest";
    let answer = server.raw(Method::POST, path, None, "{}").await.ok();
    Client {
        server,
        token: answer["access_token"].as_str().unwrap().to_owned(),
        user: answer["user_id"].as_str().unwrap().to_owned(),
    }
}

fn guests(access: &str) -> Value {
    json!({ "type": "m.room.guest_access", "content": { "guest_access": access } })
}

#[tokio::test]
async fn guests_join_rooms_that_let_them_in_and_do_little_else() {
    let server = Server::with(|settings| settings.guests = true).await;
    let (alice, guest) = (server.register("alice").await, guest(&server).await);
    assert_eq!(guest.get("/account/whoami").await.ok()["is_guest"], true);
    let refused = guest.post("/createRoom", json!({})).await;
    refused.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    let body = |access| json!({ "preset": "public_chat", "initial_state": [guests(access)] });
    let closed = alice.room(body("forbidden")).await;
    let join = guest
        .post(&format!("/rooms/{closed}/join"), json!({}))
        .await;
    join.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    let open = alice.room(body("can_join")).await;
    guest
        .post(&format!("/rooms/{open}/join"), json!({}))
        .await
        .ok();
    guest.say(&open, "t1", "I am only looking").await;

    let path = format!("/rooms/{open}/state/m.room.guest_access");
    alice
        .put(&path, json!({ "guest_access": "forbidden" }))
        .await
        .ok();
    let path = format!("/rooms/{open}/send/m.room.message/t2");
    let late = guest
        .put(&path, json!({ "msgtype": "m.text", "body": "x" }))
        .await;
    late.refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn guests_are_not_served_unless_that_is_said() {
    let server = Server::start().await;
    let path = "/_matrix/client/v3/register?kind=guest";
    let answer = server.raw(Method::POST, path, None, "{}").await;
    answer.refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn an_open_room_is_looked_into_and_listened_to() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let open = json!({
        "type": "m.room.history_visibility",
        "content": { "history_visibility": "world_readable" },
    });
    let room = alice.room(json!({ "initial_state": [open] })).await;
    alice.say(&room, "t1", "before").await;
    let seen = bob.get(&format!("/rooms/{room}/initialSync")).await.ok();
    let newest = seen["messages"]["chunk"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(newest["content"]["body"], "before");
    assert_eq!(
        (&seen["visibility"], seen.get("membership")),
        (&json!("private"), None)
    );
    assert!(!seen["state"].as_array().unwrap().is_empty());

    let from = seen["messages"]["end"].as_str().unwrap();
    let path = format!("/events?room_id={room}&timeout=30000&from={from}");
    let (heard, _) = tokio::join!(bob.get(&path), alice.say(&room, "t2", "after"));
    let heard = heard.ok();
    assert_eq!(heard["chunk"][0]["content"]["body"], "after");
    assert_ne!(heard["start"], heard["end"]);
    let end = heard["end"].as_str().unwrap();
    let path = format!("/events?room_id={room}&from={end}");
    assert_eq!(bob.get(&path).await.ok().get("chunk"), None);

    let private = alice.room(json!({})).await;
    let path = format!("/rooms/{private}/initialSync");
    bob.get(&path).await.refused(403, "M_FORBIDDEN");
    let path = format!("/events?room_id={private}");
    bob.get(&path).await.refused(403, "M_FORBIDDEN");
    let path = format!("/events?room_id={room}&from=x");
    bob.get(&path).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn addresses_and_bridged_networks_are_unknown_here() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let body = json!({ "client_secret": "s", "email": "a@example.org", "send_attempt": 1 });
    for purpose in ["register", "account/3pid"] {
        let path = format!("/{purpose}/email/requestToken");
        alice
            .post(&path, body.clone())
            .await
            .refused(403, "M_THREEPID_DENIED");
    }
    let answer = alice
        .post("/account/password/email/requestToken", body)
        .await;
    answer.refused(400, "M_THREEPID_NOT_FOUND");
    let body = json!({ "client_secret": "s", "sid": "1" });
    let answer = alice.post("/account/3pid/add", body).await;
    answer.refused(400, "M_THREEPID_AUTH_FAILED");
    let body = json!({ "medium": "email", "address": "a@example.org" });
    let answer = alice.post("/account/3pid/delete", body).await.ok();
    assert_eq!(answer["id_server_unbind_result"], "no-support");
    for path in [
        "protocol/irc",
        "user/irc",
        "location?alias=%23a:example.org",
    ] {
        let answer = alice.get(&format!("/thirdparty/{path}")).await;
        answer.refused(404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_login_token_is_good_once() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = "/_matrix/client/v1/login/get_token";
    let asked = alice.post(path, json!({})).await;
    assert_eq!(asked.status, 401);
    let auth = json!({ "auth": {
        "type": "m.login.password", "session": asked.body["session"],
        "identifier": { "type": "m.id.user", "user": alice.user },
        "password": "a long enough secret",
    } });
    let answer = alice.post(path, auth).await.ok();
    assert_eq!(answer["expires_in_ms"], 120_000);
    let login = json!({ "type": "m.login.token", "token": answer["login_token"] }).to_string();
    let path = "/_matrix/client/v3/login";
    let again = login.clone();
    let answer = server.raw(Method::POST, path, None, login).await.ok();
    assert_eq!(answer["user_id"], alice.user.as_str());
    let second = server.raw(Method::POST, path, None, again).await;
    second.refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn administrators_read_what_was_reported() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.room(json!({ "preset": "public_chat" })).await;
    let event = bob.say(&room, "t1", "spam").await;
    for (number, path) in [
        format!("/rooms/{room}/report/{event}"),
        format!("/rooms/{room}/report"),
    ]
    .iter()
    .enumerate()
    {
        bob.post(path, json!({ "reason": format!("reason {number}") }))
            .await
            .ok();
    }
    let path = "/_synapse/admin/v1/event_reports";
    let call = async |method, path: &str| {
        let token = Some(alice.token.as_str());
        server.raw(method, path, token, "").await
    };
    let get = async |path: &str| call(Method::GET, path).await;
    get(path).await.refused(403, "M_FORBIDDEN");
    let user = server.users.local_user("alice").unwrap();
    server.users.set_admin(&user, true).await.unwrap();
    let page = get(&format!("{path}?limit=1")).await.ok();
    assert_eq!(
        (&page["total"], &page["event_reports"][0]["reason"]),
        (&json!(2), &json!("reason 1"))
    );
    let next = get(&format!("{path}?from={}", page["next_token"]))
        .await
        .ok();
    let report = &next["event_reports"][0];
    assert_eq!(report["reason"], "reason 0");
    let one = format!("{path}/{}", report["id"]);
    assert_eq!(
        get(&one).await.ok()["event_json"]["content"]["body"],
        "spam"
    );
    call(Method::DELETE, &one).await.ok();
    get(&one).await.refused(404, "M_NOT_FOUND");
    get(&format!("{path}/x"))
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_locked_account_does_nothing_and_a_suspended_one_listens() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let lock = format!("/_matrix/client/v1/admin/lock/{}", bob.user);
    let suspend = format!("/_matrix/client/v1/admin/suspend/{}", bob.user);
    alice.get(&lock).await.refused(403, "M_FORBIDDEN");
    let user = server.users.local_user("alice").unwrap();
    server.users.set_admin(&user, true).await.unwrap();
    assert_eq!(alice.get(&lock).await.ok(), json!({ "locked": false }));
    let own = format!("/_matrix/client/v1/admin/lock/{}", alice.user);
    alice
        .put(&own, json!({ "locked": true }))
        .await
        .refused(403, "M_FORBIDDEN");
    let unknown = "/_matrix/client/v1/admin/lock/@nobody:example.org";
    alice.get(unknown).await.refused(404, "M_NOT_FOUND");
    let elsewhere = "/_matrix/client/v1/admin/lock/@bob:elsewhere.org";
    alice.get(elsewhere).await.refused(400, "M_INVALID_PARAM");

    alice.put(&suspend, json!({ "suspended": true })).await.ok();
    bob.get("/sync").await.ok();
    bob.post("/createRoom", json!({}))
        .await
        .refused(403, "M_USER_SUSPENDED");
    alice
        .put(&suspend, json!({ "suspended": false }))
        .await
        .ok();
    bob.post("/createRoom", json!({})).await.ok();

    alice.put(&lock, json!({ "locked": true })).await.ok();
    let locked = bob.get("/sync").await;
    locked.refused(401, "M_USER_LOCKED");
    assert_eq!(locked.body["soft_logout"], true);
    alice.put(&lock, json!({ "locked": false })).await.ok();
    bob.get("/sync").await.ok();
    alice.put(&lock, json!({ "locked": true })).await.ok();
    bob.post("/logout", json!({})).await.ok();
}
