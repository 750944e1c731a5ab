//! The life of a server: that it starts, answers, reloads, keeps what it acknowledged, and stops without making those wait
//! who wait for news.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use hearth_base::config::RegistrationMode;
use hearth_testkit::Server;
use reqwest::{Method, header};
use serde_json::{Value, json};

const REGISTER: &str = "/_matrix/client/v3/register";

#[tokio::test]
async fn answers_have_what_browsers_and_operators_need() {
    let server = Server::start().await.unwrap();
    let get = |path: &str| server.client().get(server.url(path)).send();
    let health = get("/health").await.unwrap();
    assert_eq!(health.status(), 200);
    let versions = get("/_matrix/client/versions").await.unwrap();
    assert_eq!(versions.status(), 200);
    let headers = versions.headers().clone();
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-type"], "application/json");
    // A node tells it to whom no proxy stands between.
    let metrics = server.client().get(server.node_url(0, "/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    assert!(metrics.contains("hearth_http_requests_total"), "{metrics}");
    let asked_by_proxy = server
        .client()
        .get(server.url("/metrics"))
        .header("x-forwarded-for", "1.2.3.4");
    assert_eq!(asked_by_proxy.send().await.unwrap().status(), 404);
    let unknown = get("/_matrix/client/v3/nothing").await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        unknown.json::<Value>().await.unwrap()["errcode"],
        "M_UNRECOGNIZED"
    );
    let preflight = server
        .client()
        .request(Method::OPTIONS, server.url(REGISTER))
        .header(header::ORIGIN, "https://client.example.org")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), 200);
    let allowed = preflight.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS]
        .to_str()
        .unwrap();
    assert!(allowed.contains("authorization"), "{allowed}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let server = Server::start().await.unwrap();
    let token = server.register("alice").await.unwrap();
    let room = json!({ "preset": "private_chat" });
    let made = server.call(
        Method::POST,
        "/_matrix/client/v3/createRoom",
        Some(&token),
        &room,
    );
    let (status, made) = made.await.unwrap();
    assert_eq!(status, 200, "{made}");
    let key = fs::metadata(server.folder().join("signing.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let server = server.restart().await.unwrap();
    let path = "/_matrix/client/v3/joined_rooms";
    let (_, joined) = server
        .call(Method::GET, path, Some(&token), &Value::Null)
        .await
        .unwrap();
    assert_eq!(joined["joined_rooms"], json!([made["room_id"]]));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_wait_for_news_ends_when_the_server_stops() {
    let server = Server::start_with(|config| config.listen.shutdown_timeout_seconds = 600)
        .await
        .unwrap();
    let token = server.register("alice").await.unwrap();
    let path = "/_matrix/client/v3/sync?timeout=0";
    let (_, first) = server
        .call(Method::GET, path, Some(&token), &Value::Null)
        .await
        .unwrap();
    let since = first["next_batch"].as_str().unwrap();
    let waiting = server
        .client()
        .get(server.url(&format!(
            "/_matrix/client/v3/sync?timeout=120000&since={since}"
        )))
        .bearer_auth(&token)
        .timeout(Duration::from_secs(600))
        .send();
    let waiting = tokio::spawn(waiting);
    // No other test of this process waits for news.
    let metrics = || async {
        server
            .client()
            .get(server.node_url(0, "/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    while !metrics().await.contains("hearth_sync_requests 1") {
        tokio::task::yield_now().await;
    }
    server.stop().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn registration_closes_without_a_restart() {
    let server = Server::start().await.unwrap();
    assert!(!server.register("alice").await.unwrap().is_empty());
    let mut config = server.config().clone();
    config.registration.mode = RegistrationMode::Closed;
    server.reload(&config).await.unwrap();
    assert!(server.register("bob").await.unwrap().is_empty());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn new_rooms_have_the_configured_version() {
    let server =
        Server::start_with(|config| config.rooms.default_version = "10".try_into().unwrap())
            .await
            .unwrap();
    let token = server.register("alice").await.unwrap();
    let path = "/_matrix/client/v3/capabilities";
    let (_, able) = server
        .call(Method::GET, path, Some(&token), &Value::Null)
        .await
        .unwrap();
    assert_eq!(able["capabilities"]["m.room_versions"]["default"], "10");
    let path = "/_matrix/client/v3/createRoom";
    let (_, made) = server
        .call(Method::POST, path, Some(&token), &json!({}))
        .await
        .unwrap();
    let room = made["room_id"].as_str().unwrap().replace('!', "%21");
    let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.create");
    let (_, create) = server
        .call(Method::GET, &path, Some(&token), &Value::Null)
        .await
        .unwrap();
    assert_eq!(create["room_version"], "10", "{create}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let server =
        Server::start_with(|config| config.limits.request_body = "64 KiB".parse().unwrap())
            .await
            .unwrap();
    let body = json!({ "username": "a".repeat(70_000) });
    let (status, answer) = server
        .call(Method::POST, REGISTER, None, &body)
        .await
        .unwrap();
    assert_eq!(
        (status, answer["errcode"].as_str()),
        (413, Some("M_TOO_LARGE"))
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_serves_one_name_for_ever() {
    let server = Server::start().await.unwrap();
    let (mut config, folder) = (server.config().clone(), server.folder().to_owned());
    config.store.path = folder.join("copy");
    config.server.name = "first.example.org".try_into().unwrap();
    let open = |config| async move {
        hearth_server::Node::open(&config, hearth_server::Outside::default()).await
    };
    open(config.clone()).await.unwrap().close().await.unwrap();
    config.server.name = "second.example.org".try_into().unwrap();
    let refused = open(config).await.err().unwrap().to_string();
    assert!(refused.contains("first.example.org"), "{refused}");
    server.stop().await.unwrap();
}
