//! What administrators do, and what nobody else does, through the router.

use http::Method;
use serde_json::{Value, json};

use super::server::{Answered, Client, Server};

/// A user and an administrator.
async fn people(server: &Server) -> (Client<'_>, Client<'_>) {
    let (admin, alice) = (
        server.register("admin").await,
        server.register("alice").await,
    );
    let user = server.users.local_user("admin").unwrap();
    server.users.set_admin(&user, true).await.unwrap();
    (admin, alice)
}

async fn ask(who: &Client<'_>, method: Method, path: &str, body: Value) -> Answered {
    let path = format!("/_synapse/admin/{path}");
    let body = body.to_string();
    who.server.raw(method, &path, Some(&who.token), body).await
}

#[tokio::test]
async fn a_notice_comes_to_a_room_that_cannot_be_turned_away() {
    let server = Server::start().await;
    let (admin, alice) = people(&server).await;
    let body =
        json!({ "user_id": alice.user, "content": { "msgtype": "m.text", "body": "hello" } });
    let send = async |who: &Client<'_>, method: Method, path: &str| {
        ask(who, method, path, body.clone()).await
    };
    send(&alice, Method::POST, "v1/send_server_notice")
        .await
        .refused(403, "M_FORBIDDEN");
    let first = send(&admin, Method::POST, "v1/send_server_notice")
        .await
        .ok();
    let synced = alice.get("/sync").await.ok();
    let (room, invite) = synced["rooms"]["invite"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    let shown = invite["invite_state"]["events"].as_array().unwrap();
    assert!(
        shown
            .iter()
            .all(|event| event["sender"] == "@_server:example.org")
    );
    let tags = format!("/user/{}/rooms/{room}/tags", alice.user);
    let tags = alice.get(&tags).await.ok();
    assert!(tags["tags"]["m.server_notice"].is_object());

    let leave = format!("/rooms/{room}/leave");
    alice
        .post(&leave, json!({}))
        .await
        .refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM");
    alice.post(&format!("/join/{room}"), json!({})).await.ok();
    let event = first["event_id"].as_str().unwrap();
    alice
        .get(&format!("/rooms/{room}/event/{event}"))
        .await
        .ok();
    let reply = json!({ "msgtype": "m.text", "body": "no" });
    alice
        .put(&format!("/rooms/{room}/send/m.room.message/1"), reply)
        .await
        .refused(403, "M_FORBIDDEN");
    alice.post(&leave, json!({})).await.ok();

    // The same room again, and a repeated request is one notice.
    let once = send(&admin, Method::PUT, "v1/send_server_notice/1")
        .await
        .ok();
    let again = send(&admin, Method::PUT, "v1/send_server_notice/1")
        .await
        .ok();
    assert_eq!(once, again);
    let synced = alice.get("/sync").await.ok();
    assert!(synced["rooms"]["invite"].get(room).is_some());
}

#[tokio::test]
async fn nobody_gets_the_name_under_which_the_server_speaks() {
    let server = Server::start().await;
    let body = json!({ "username": "_server", "password": "a long enough secret", "auth": { "type": "m.login.dummy" } });
    let path = "/_matrix/client/v3/register";
    let taken = server.raw(Method::POST, path, None, body.to_string()).await;
    taken.refused(400, "M_USER_IN_USE");
}

#[tokio::test]
async fn accounts_are_listed_made_and_changed() {
    let server = Server::start().await;
    let (admin, alice) = people(&server).await;
    let get = async |path: &str| ask(&admin, Method::GET, path, json!({})).await;
    ask(&alice, Method::GET, "v2/users", json!({}))
        .await
        .refused(403, "M_FORBIDDEN");
    let bob = "v2/users/@bob:example.org";
    get(bob).await.refused(404, "M_NOT_FOUND");
    let new = json!({ "password": "another long secret", "displayname": "Bob", "admin": false });
    let made = ask(&admin, Method::PUT, bob, new).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["displayname"], "Bob");

    let page = get("v2/users?limit=2").await.ok();
    assert_eq!(
        (&page["total"], &page["next_token"]),
        (&json!(3), &json!("2"))
    );
    let rest = get("v2/users?limit=2&from=2").await.ok();
    assert_eq!(rest["users"][0]["name"], "@bob:example.org");
    assert!(rest.get("next_token").is_none());
    let named = get("v2/users?name=LI").await.ok();
    assert_eq!(named["users"][0]["name"], alice.user.as_str());
    get("v2/users?from=x").await.refused(400, "M_INVALID_PARAM");

    let password = json!({ "new_password": "a third long secret" });
    let path = format!("v1/reset_password/{}", alice.user);
    ask(&admin, Method::POST, &path, password).await.ok();
    alice
        .get("/account/whoami")
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    let path = "v1/users/@bob:example.org/admin";
    ask(&admin, Method::PUT, path, json!({ "admin": true }))
        .await
        .ok();
    assert_eq!(get(path).await.ok(), json!({ "admin": true }));
    let own = format!("v1/users/{}/admin", admin.user);
    ask(&admin, Method::PUT, &own, json!({ "admin": false }))
        .await
        .refused(403, "M_FORBIDDEN");
    ask(
        &admin,
        Method::POST,
        "v1/deactivate/@bob:example.org",
        json!({ "erase": true }),
    )
    .await
    .ok();
    let closed = get(bob).await.ok();
    assert_eq!(
        (&closed["deactivated"], &closed["erased"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(get("v2/users").await.ok()["total"], 2);
    assert_eq!(get("v2/users?deactivated=true").await.ok()["total"], 3);
    get("v1/username_available?username=bob")
        .await
        .refused(400, "M_USER_IN_USE");
    ask(
        &admin,
        Method::PUT,
        "v2/users/@eve:elsewhere.org",
        json!({}),
    )
    .await
    .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn administrators_are_told_what_the_server_noticed() {
    let server = Server::start().await;
    let (admin, alice) = people(&server).await;
    let told = crate::tell_administrators(&server.app, "something happened").await;
    assert_eq!(told, Ok(1));
    let sync = alice.get("/sync").await.ok();
    assert!(sync["rooms"].get("invite").is_none(), "{sync}");
    let sync = admin.get("/sync").await.ok();
    let rooms = sync["rooms"]["invite"].as_object().unwrap();
    let room = rooms.keys().next().unwrap().replace('!', "%21");
    admin.post(&format!("/join/{room}"), json!({})).await.ok();
    let path = format!("/rooms/{room}/messages?dir=b");
    let page = admin.get(&path).await.ok();
    let said = |event: &&serde_json::Value| event["content"]["body"] == "something happened";
    assert!(
        page["chunk"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| said(&event)),
        "{page}"
    );
}
