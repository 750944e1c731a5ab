//! What is refused before a handler is asked, and by handlers for what is plainly wrong.

use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use http::Method;
use serde_json::json;

use super::server::Server;
use crate::route_table;

/// A path with something in place of each parameter.
fn filled(path: &str, with: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| match segment.starts_with('{') {
            true => with,
            false => segment,
        });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_endpoint_answers_json_without_a_login_and_none_fails_inside() {
    let server = Server::start().await;
    for (method, path) in route_table() {
        for with in ["x", "%FF", "%21a:b", "@a:example.org"] {
            let path = filled(&path, with);
            let answer = server.raw(method.clone(), &path, None, "{}").await;
            assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_endpoint_refuses_bad_bodies_and_none_fails_inside() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("\"{}\"", "x".repeat(300 * 1024));
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{\"a\":1e999}",
        br#"{"type":1,"auth":[],"content":0.5,"rooms":3,"room_id":{}}"#,
        deep.as_bytes(),
        long.as_bytes(),
    ];
    for (method, path) in route_table() {
        let is_last = path.contains("logout") || path.contains("deactivate");
        let waits = path.ends_with("/sync");
        if is_last || waits {
            continue;
        }
        let path = filled(&path, "%21a:example.org");
        for body in bodies {
            let body = bytes::Bytes::copy_from_slice(body);
            let answer = server
                .raw(method.clone(), &path, Some(&alice.token), body)
                .await;
            assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served() {
    let server = Server::start().await;
    let unknown = "/_matrix/client/v3/nothing";
    server
        .raw(Method::GET, unknown, None, "")
        .await
        .refused(404, "M_UNRECOGNIZED");
    server
        .raw(Method::DELETE, "/_matrix/client/versions", None, "")
        .await
        .refused(405, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn tokens() {
    let server = Server::start().await;
    let path = "/_matrix/client/v3/joined_rooms";
    server
        .raw(Method::GET, path, None, "")
        .await
        .refused(401, "M_MISSING_TOKEN");
    server
        .raw(Method::GET, path, Some("nonsense"), "")
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    let alice = server.register("alice").await;
    let old = format!("{path}?access_token={}", alice.token);
    server.raw(Method::GET, &old, None, "").await.ok();
}

#[tokio::test]
async fn bodies() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let token = Some(alice.token.as_str());
    let path = "/_matrix/client/v3/createRoom";
    let post = |body: Vec<u8>| server.raw(Method::POST, path, token, body);
    post(b"{".to_vec()).await.refused(400, "M_NOT_JSON");
    post(b"\xff".to_vec()).await.refused(400, "M_NOT_JSON");
    post(br#"{"name":5}"#.to_vec())
        .await
        .refused(400, "M_BAD_JSON");
    post(br#"{"room_version":"nonsense"}"#.to_vec())
        .await
        .refused(400, "M_UNSUPPORTED_ROOM_VERSION");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    post(deep.into_bytes()).await.refused(400, "M_BAD_JSON");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(300 * 1024));
    post(long.into_bytes()).await.refused(413, "M_TOO_LARGE");
}

#[tokio::test]
async fn identifiers_and_tokens_of_pages() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    alice
        .get("/rooms/nonsense/state")
        .await
        .refused(400, "M_INVALID_PARAM");
    alice
        .get("/rooms/%FF/state")
        .await
        .refused(400, "M_INVALID_PARAM");
    alice
        .get(&format!("/rooms/{room}/messages?dir=b&from=nonsense"))
        .await
        .refused(400, "M_INVALID_PARAM");
    alice
        .get(&format!("/rooms/{room}/messages"))
        .await
        .refused(400, "M_MISSING_PARAM");
    alice
        .get("/rooms/%21nowhere:example.org/state")
        .await
        .refused(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn contents_that_canonical_json_cannot_express() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({})).await;
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.x/1");
    for content in [r#"{"a":1.5}"#, r#"{"a":9007199254740993}"#, r#"{"a":1e3}"#] {
        server
            .raw(Method::PUT, &path, Some(&alice.token), content)
            .await
            .refused(400, "M_BAD_JSON");
    }
    let long = json!({ "a": "x".repeat(70_000) });
    alice
        .put(&format!("/rooms/{room}/send/m.x/2"), long)
        .await
        .refused(413, "M_TOO_LARGE");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Server::with(|settings| settings.body_timeout = Duration::from_millis(10)).await;
    let endless = Body::from_stream(stream::pending::<Result<&'static str, std::io::Error>>());
    let path = "/_matrix/client/v3/login";
    let answer = server.raw(Method::POST, path, None, endless).await;
    answer.refused(408, "M_UNKNOWN");
}
