//! Upgrades: that a version runs over what a later one wrote, and that two run together on one store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::path::Path;

use hearth_server::Schema;
use hearth_store::{
    Batch, Direction, Engine, Family, TableId, Writer, batch::Write, codec, engines::rocksdb,
};
use hearth_testkit::{Failure, Server};
use reqwest::Method;
use serde_json::{Value, json};

/// How many records are read at once.
const PAGE: usize = 500;

async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &Value) -> Value {
    let path = format!("/_matrix/client/v3{path}");
    let (status, answer) = server.call(method, &path, Some(token), body).await.unwrap();
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// A field that this version does not know.
const LATER: &str = "org.example.later";

/// Adds the field to every record of a store that is an object in JSON; how many there were.
async fn add_to_records(path: &Path) -> usize {
    let engine = rocksdb::open(rocksdb::Options::at(path)).unwrap();
    let mut added = 0;
    for (family, number) in Family::ALL.iter().flat_map(|f| (0..=255).map(|n| (*f, n))) {
        let table = TableId { family, number };
        let (view, mut low) = (engine.view().await.unwrap(), Vec::new());
        loop {
            let range = low..vec![0xFF; 8];
            let page = view.scan(table, range, Direction::Forward, PAGE);
            let page = page.await.unwrap();
            let mut batch = Batch::new();
            for (key, value) in &page {
                if let Ok(Value::Object(mut record)) = serde_json::from_slice(value) {
                    record.insert(LATER.to_owned(), json!({ "version": 2 }));
                    let value = serde_json::to_vec(&record).unwrap();
                    batch.writes.push(Write::Put {
                        table,
                        key: written(key),
                        value: written(&value),
                    });
                }
            }
            added += batch.writes.len();
            engine.commit(batch).await.unwrap();
            match page.last() {
                Some((key, _)) if page.len() == PAGE => low = [key, &[0][..]].concat(),
                _ => break,
            }
        }
    }
    engine.close().await.unwrap();
    added
}

/// Whether Alice's account, and her device of this name, have the field.
async fn is_kept(path: &Path, device: &str) -> [bool; 2] {
    let engine = rocksdb::open(rocksdb::Options::at(path)).unwrap();
    let view = engine.view().await.unwrap();
    let has = async |family, number, text: &str| {
        let range = codec::encode(&"@alice:localhost")..codec::encode(&"@alice:localhosu");
        let table = TableId { family, number };
        let found = view.scan(table, range, Direction::Forward, PAGE);
        let mut records = found.await.unwrap().into_iter().map(|(_, value)| value);
        let meant = records.find(|value| String::from_utf8_lossy(value).contains(text));
        String::from_utf8_lossy(&meant.unwrap()).contains(LATER)
    };
    let kept = [
        has(Family::Records, 16, "password").await,
        has(Family::Index, 17, device).await,
    ];
    drop(view);
    engine.close().await.unwrap();
    kept
}

fn written(bytes: &[u8]) -> Writer {
    let mut writer = Writer::default();
    writer.raw(bytes);
    writer
}

#[tokio::test]
async fn what_a_later_version_adds_to_records_is_passed_over_by_who_reads() {
    let server = Server::start().await.unwrap();
    if server.nodes() > 1 {
        return server.stop().await.unwrap();
    }
    let alice = server.register("alice").await.unwrap();
    let bob = server.register("bob").await.unwrap();
    let settings = json!({ "preset": "public_chat", "room_alias_name": "lobby" });
    let made = ask(&server, Method::POST, "/createRoom", &alice, &settings).await;
    let room = made["room_id"].as_str().unwrap();
    ask(
        &server,
        Method::POST,
        &format!("/join/{room}"),
        &bob,
        &json!({}),
    )
    .await;
    let path = "/user/@alice:localhost/account_data/org.example.note";
    ask(&server, Method::PUT, path, &alice, &json!({ "kept": true })).await;
    let send = format!("/rooms/{room}/send/m.room.message");
    let text = |body: &str| json!({ "msgtype": "m.text", "body": body });
    ask(
        &server,
        Method::PUT,
        &format!("{send}/1"),
        &alice,
        &text("before"),
    )
    .await;
    let sync = ask(&server, Method::GET, "/sync", &bob, &Value::Null).await;
    let since = sync["next_batch"].as_str().unwrap().to_owned();
    let server = server
        .restart_after(async |folder| assert!(add_to_records(&folder.join("store")).await > 0))
        .await
        .unwrap();
    // What was there is there, and what follows from it can be written.
    let data = ask(&server, Method::GET, path, &alice, &Value::Null).await;
    assert_eq!(data["kept"], true);
    ask(
        &server,
        Method::PUT,
        &format!("{send}/2"),
        &alice,
        &text("after"),
    )
    .await;
    let path = format!("/sync?since={since}");
    let news = ask(&server, Method::GET, &path, &bob, &Value::Null).await;
    let timeline = &news["rooms"]["join"][room]["timeline"]["events"];
    assert_eq!(timeline[0]["content"]["body"], "after", "{news}");
    let messages = format!("/rooms/{room}/messages?dir=b&limit=2");
    let page = ask(&server, Method::GET, &messages, &bob, &Value::Null).await;
    assert_eq!(page["chunk"][1]["content"]["body"], "before", "{page}");
    assert!(!server.register("carol").await.unwrap().is_empty());

    // Such records are changed, and keep what a later version wrote into them (decision 16).
    let password = "alice's password";
    let login = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": password,
    });
    let login = ask(&server, Method::POST, "/login", "", &login).await;
    let second = login["access_token"].as_str().unwrap();
    let devices = ask(&server, Method::GET, "/devices", &alice, &Value::Null).await;
    let first = devices["devices"].as_array().unwrap().iter();
    let mut first = first.filter(|device| device["device_id"] != login["device_id"]);
    let device = format!(
        "/devices/{}",
        first.next().unwrap()["device_id"].as_str().unwrap()
    );
    let name = json!({ "display_name": "renamed" });
    ask(&server, Method::PUT, &device, &alice, &name).await;
    let change = json!({
        "new_password": "another password",
        "logout_devices": false,
        "auth": { "type": "m.login.password", "user": "alice", "password": password },
    });
    ask(&server, Method::POST, "/account/password", second, &change).await;
    let server = server
        .restart_after(async |folder| {
            let kept = is_kept(&folder.join("store"), "renamed").await;
            assert_eq!(kept, [true, true]);
        })
        .await
        .unwrap();
    let device = ask(&server, Method::GET, &device, &alice, &Value::Null).await;
    assert_eq!(device["display_name"], "renamed");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn nodes_of_two_forms_run_together_and_what_one_of_them_cannot_read_is_not_written() {
    let (now, next) = (schema(1, 1), schema(2, 1));
    let Some(server) = Server::start_mixed([now, next, next]).await.unwrap() else {
        eprintln!("skipped: ./test.sh cluster runs this");
        return;
    };
    let alice = server.register("alice").await.unwrap();
    let made = ask(&server, Method::POST, "/createRoom", &alice, &json!({})).await;
    let room = made["room_id"].as_str().unwrap();
    // Each node writes, and each reads it.
    for (number, body) in ["one", "two", "three"].iter().enumerate() {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}");
        let content = json!({ "msgtype": "m.text", "body": body });
        let request = server.client().put(server.node_url(number, &path));
        let sent = request.bearer_auth(&alice).json(&content).send();
        assert_eq!(sent.await.unwrap().status(), 200);
        for reader in 0..3 {
            let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=1");
            let request = server.client().get(server.node_url(reader, &path));
            let page = request.bearer_auth(&alice).send().await.unwrap();
            let page: Value = page.json().await.unwrap();
            assert_eq!(page["chunk"][0]["content"]["body"], *body, "{page}");
        }
    }
    // A form that the first node cannot read, while it lives.
    let refused = match server.start_node(schema(3, 2)).await {
        Err(Failure::Server(error)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started beside a node that cannot read what it writes"),
    };
    assert!(refused.contains("stop them first"), "{refused}");
    let server = server.leave_out(0).await.unwrap();
    let newest = server.start_node(schema(3, 2)).await.unwrap();
    // From now on the first cannot come back.
    let refused = match server.start_node(now).await {
        Err(Failure::Server(error)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started although it cannot read what is there"),
    };
    assert!(refused.contains("cannot read"), "{refused}");
    newest.stop().await.unwrap();
    server.stop().await.unwrap();
}

const fn schema(writes: u32, needs: u32) -> Schema {
    Schema { writes, needs }
}
