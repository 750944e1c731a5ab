//! Several servers that speak with each other over TLS, in one process.
#![allow(clippy::unwrap_used, clippy::panic)]

use hearth_testkit::{Network, Server};
use reqwest::Method;
use serde_json::{Value, json};

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
