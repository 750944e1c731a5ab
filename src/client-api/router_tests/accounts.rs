//! Accounts and devices, as clients meet them.

use hearth_users::RegistrationToken;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha1::Sha1;

use super::server::{Answered, Server};
use crate::Registration;

const V3: &str = "/_matrix/client/v3";
/// What [`Server::register`] gives every account.
const PASSWORD: &str = "a long enough secret";

async fn post(server: &Server, path: &str, body: Value) -> Answered {
    let path = format!("{V3}{path}");
    server
        .raw(Method::POST, &path, None, body.to_string())
        .await
}

async fn get(server: &Server, path: &str) -> Answered {
    let path = format!("{V3}{path}");
    server.raw(Method::GET, &path, None, "").await
}

fn password(user: &str, word: &str) -> Value {
    json!({
        "type": "m.login.password", "password": word,
        "identifier": { "type": "m.id.user", "user": user },
    })
}

#[tokio::test]
async fn registration_asks_and_is_answered() {
    let server = Server::start().await;
    let asked = post(&server, "/register", json!({})).await;
    assert_eq!(asked.status, 401);
    assert!(asked.body["session"].is_string() && asked.body["params"].is_object());
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.dummy"] }])
    );
    assert_eq!(asked.errcode(), "");

    let wanted = json!({ "username": "Alice", "password": PASSWORD });
    let mut with_session = wanted.clone();
    with_session["auth"] = json!({ "type": "m.login.dummy", "session": asked.body["session"] });
    let made = post(&server, "/register", with_session).await.ok();
    assert_eq!(made["user_id"], "@alice:example.org");
    assert!(made["device_id"].is_string() && made["access_token"].is_string());

    // A taken name is told before anything is asked.
    post(&server, "/register", wanted)
        .await
        .refused(400, "M_USER_IN_USE");
    get(&server, "/register/available?username=alice")
        .await
        .refused(400, "M_USER_IN_USE");
    get(&server, "/register/available?username=a%20b")
        .await
        .refused(400, "M_INVALID_USERNAME");
    let free = get(&server, "/register/available?username=bob").await.ok();
    assert_eq!(free["available"], true);

    let dummy = json!({ "type": "m.login.dummy" });
    let silent =
        json!({ "username": "carol", "password": "x", "inhibit_login": true, "auth": dummy });
    let silent = post(&server, "/register", silent).await.ok();
    assert_eq!(silent["access_token"], Value::Null);
    let nameless = json!({ "password": "x", "auth": dummy });
    let nameless = post(&server, "/register", nameless).await.ok();
    assert!(
        nameless["user_id"]
            .as_str()
            .unwrap()
            .ends_with(":example.org")
    );
    let wordless = json!({ "username": "dave", "auth": dummy });
    post(&server, "/register", wordless)
        .await
        .refused(400, "M_MISSING_PARAM");
    post(&server, "/register?kind=guest", json!({}))
        .await
        .refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn registration_may_be_closed_or_go_by_tokens() {
    let closed = Server::with(|settings| settings.registration = Registration::Closed).await;
    let wanted =
        json!({ "username": "alice", "password": "x", "auth": { "type": "m.login.dummy" } });
    post(&closed, "/register", wanted.clone())
        .await
        .refused(403, "M_FORBIDDEN");

    let server = Server::with(|settings| settings.registration = Registration::Token).await;
    let token = RegistrationToken {
        token: "welcome".to_owned(),
        uses_allowed: Some(1),
        completed: 0,
        expires: None,
    };
    server.users.put_registration_token(token).await.unwrap();
    let dummy = post(&server, "/register", wanted).await;
    assert_eq!(dummy.status, 401);
    let stage = "m.login.registration_token";
    assert_eq!(dummy.body["flows"], json!([{ "stages": [stage] }]));
    let validity = format!("/_matrix/client/v1/register/{stage}/validity?token=welcome");
    let valid = server.raw(Method::GET, &validity, None, "").await.ok();
    assert_eq!(valid["valid"], true);
    let shown = |name: &str, token: &str| {
        let auth = json!({ "type": stage, "token": token });
        json!({ "username": name, "password": "x", "auth": auth })
    };
    post(&server, "/register", shown("alice", "wrong"))
        .await
        .refused(401, "M_FORBIDDEN");
    post(&server, "/register", shown("alice", "welcome"))
        .await
        .ok();
    post(&server, "/register", shown("bob", "welcome"))
        .await
        .refused(401, "M_FORBIDDEN");
}

fn mac(secret: &str, fields: [&str; 4]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(fields.join("\0").as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_shared_secret_makes_accounts() {
    let path = "/_synapse/admin/v1/register";
    let plain = Server::start().await;
    plain
        .raw(Method::GET, path, None, "")
        .await
        .refused(403, "M_FORBIDDEN");

    let server = Server::with(|settings| {
        settings.registration = Registration::Closed;
        settings.registration_shared_secret = Some("between us".to_owned());
    })
    .await;
    let nonce = server.raw(Method::GET, path, None, "").await.ok();
    let nonce = nonce["nonce"].as_str().unwrap();
    let body = |secret: &str| {
        let mac = mac(secret, [nonce, "root", "secret", "admin"]);
        json!({ "nonce": nonce, "username": "root", "password": "secret", "admin": true, "mac": mac })
    };
    let send = async |body: Value| server.raw(Method::POST, path, None, body.to_string()).await;
    send(body("wrong")).await.refused(403, "M_FORBIDDEN");
    let made = send(body("between us")).await.ok();
    assert_eq!(made["user_id"], "@root:example.org");
    assert_eq!(made["home_server"], "example.org");
    send(body("between us")).await.refused(400, "M_UNKNOWN");
    send(json!({ "nonce": nonce }))
        .await
        .refused(400, "M_BAD_JSON");
    let token = made["access_token"].as_str().unwrap();
    let session = server.users.authenticate(token).await.unwrap();
    assert!(session.unwrap().admin);
}

#[tokio::test]
async fn login_takes_old_and_new_forms() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let flows = get(&server, "/login").await.ok();
    assert_eq!(flows["flows"][0]["type"], "m.login.password");
    for user in ["alice", "@alice:example.org", "ALICE"] {
        let done = post(&server, "/login", password(user, PASSWORD)).await.ok();
        assert_eq!(done["user_id"], alice.user.as_str());
        assert_eq!(done["refresh_token"], Value::Null);
    }
    let old = json!({
        "type": "m.login.password", "user": "alice", "password": PASSWORD,
        "device_id": "PHONE", "initial_device_display_name": "phone",
    });
    let old = post(&server, "/login", old).await.ok();
    assert_eq!(old["device_id"], "PHONE");
    for (user, word) in [
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("@alice:elsewhere.org", PASSWORD),
    ] {
        post(&server, "/login", password(user, word))
            .await
            .refused(403, "M_FORBIDDEN");
    }
    post(&server, "/login", json!({ "type": "m.login.magic" }))
        .await
        .refused(400, "M_UNKNOWN");
    post(&server, "/login", json!({ "password": "x" }))
        .await
        .refused(400, "M_BAD_JSON");
    post(
        &server,
        "/login",
        json!({ "type": "m.login.password", "user": "alice" }),
    )
    .await
    .refused(400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn tokens_are_refreshed_and_end_with_the_device() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut body = password("alice", PASSWORD);
    body["refresh_token"] = true.into();
    let done = post(&server, "/login", body).await.ok();
    assert!(done["expires_in_ms"].as_u64().unwrap() > 0);
    let refresh = json!({ "refresh_token": done["refresh_token"] });
    let next = post(&server, "/refresh", refresh).await.ok();
    assert!(next["refresh_token"].is_string() && next["expires_in_ms"].is_u64());
    post(&server, "/refresh", json!({ "refresh_token": "none" }))
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    let token = next["access_token"].as_str();
    let call = async |method: Method, path: &str| {
        server
            .raw(method, &format!("{V3}{path}"), token, "{}")
            .await
    };
    let me = call(Method::GET, "/account/whoami").await.ok();
    assert_eq!(me["user_id"], "@alice:example.org");
    assert_eq!(me["device_id"], done["device_id"]);
    assert_eq!(me["is_guest"], false);
    call(Method::POST, "/logout").await.ok();
    call(Method::GET, "/account/whoami")
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    alice.get("/account/whoami").await.ok();
    alice.post("/logout/all", json!({})).await.ok();
    alice
        .get("/account/whoami")
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn devices_are_shown_named_and_deleted() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut body = password("alice", PASSWORD);
    body["device_id"] = "PHONE".into();
    post(&server, "/login", body).await.ok();
    let phone = alice.get("/devices/PHONE").await.ok();
    assert!(phone["last_seen_ts"].is_u64());
    alice
        .put("/devices/PHONE", json!({ "display_name": "my phone" }))
        .await
        .ok();
    let all = alice.get("/devices").await.ok();
    let all = all["devices"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert!(
        all.iter()
            .any(|device| device["display_name"] == "my phone")
    );
    alice.get("/devices/NONE").await.refused(404, "M_NOT_FOUND");
    alice
        .put("/devices/NONE", json!({}))
        .await
        .refused(404, "M_NOT_FOUND");

    let wanted = json!({ "devices": ["PHONE"] });
    let asked = alice.post("/delete_devices", wanted.clone()).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.password"] }])
    );
    let with = |auth: Value| {
        let mut body = wanted.clone();
        body["auth"] = auth;
        body["auth"]["session"] = asked.body["session"].clone();
        body
    };
    let wrong = alice
        .post("/delete_devices", with(password("alice", "wrong")))
        .await;
    wrong.refused(401, "M_FORBIDDEN");
    assert_eq!(wrong.body["session"], asked.body["session"]);
    let old = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
    alice.post("/delete_devices", with(old)).await.ok();
    alice
        .get("/devices/PHONE")
        .await
        .refused(404, "M_NOT_FOUND");

    let own = alice.get("/account/whoami").await.ok();
    let path = format!("/devices/{}", own["device_id"].as_str().unwrap());
    let auth = json!({ "auth": password(&alice.user, PASSWORD) });
    assert_eq!(alice.call(Method::DELETE, &path, None).await.status, 401);
    alice.call(Method::DELETE, &path, Some(auth)).await.ok();
    alice.get("/devices").await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_new_password_ends_other_logins() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = post(&server, "/login", password("alice", PASSWORD))
        .await
        .ok();
    let other = other["access_token"].as_str();
    let change = json!({ "new_password": "new", "auth": password("alice", PASSWORD) });
    alice.post("/account/password", change).await.ok();
    let path = format!("{V3}/account/whoami");
    server
        .raw(Method::GET, &path, other, "")
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    alice.get("/account/whoami").await.ok();
    post(&server, "/login", password("alice", PASSWORD))
        .await
        .refused(403, "M_FORBIDDEN");
    let second = post(&server, "/login", password("alice", "new")).await.ok();
    let keep = json!({
        "new_password": "newer", "logout_devices": false, "auth": password("alice", "new"),
    });
    alice.post("/account/password", keep).await.ok();
    let second = second["access_token"].as_str();
    server.raw(Method::GET, &path, second, "").await.ok();
    post(&server, "/account/password", json!({ "new_password": "x" }))
        .await
        .refused(401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn a_closed_account_leaves_its_rooms() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.room(json!({ "preset": "public_chat" })).await;
    alice.post(&format!("/join/{room}"), json!({})).await.ok();
    let close = json!({ "auth": password("alice", PASSWORD), "erase": true });
    let closed = alice.post("/account/deactivate", close).await.ok();
    assert!(closed["id_server_unbind_result"].is_string());
    let members = bob.get(&format!("/rooms/{room}/joined_members")).await.ok();
    assert_eq!(members["joined"].as_object().unwrap().len(), 1);
    post(&server, "/login", password("alice", PASSWORD))
        .await
        .refused(403, "M_USER_DEACTIVATED");
    let gone = format!("/profile/{}", alice.user);
    bob.get(&gone).await.refused(404, "M_NOT_FOUND");
}
