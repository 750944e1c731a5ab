//! A room with a policy server: what it signs is sent and taken, what it does not sign is not.

use std::sync::atomic::Ordering;

use hearth_protocol::{Pdu, PolicyServer, SigningKey, countersign};
use ruma::server_name;
use serde_json::json;

use super::receiving::Shared;
use crate::Error;

/// The key of the policy server, which is the other server.
fn key() -> SigningKey {
    SigningKey::generate(server_name!("away"), "ed25519:policy_server", [5; 32]).unwrap()
}

/// The signature of the policy server on an event.
fn signature(pdu: &Pdu, version: hearth_protocol::RoomVersion) -> String {
    let signed = countersign(pdu, version, &key()).unwrap();
    let json: serde_json::Value = serde_json::from_str(signed.json()).unwrap();
    let signature = &json["signatures"]["away"]["ed25519:policy_server"];
    signature.as_str().unwrap().to_owned()
}

/// A room whose policy server signs what it is asked for, if `agrees`.
async fn guarded(agrees: bool) -> Shared {
    let shared = Shared::open().await;
    let content = json!({ "via": "away", "public_keys": { "ed25519": key().verify_key() } });
    let set = shared
        .house
        .set(&shared.room, "alice", "m.room.policy", content);
    set.await.unwrap();
    assert_eq!(shared.away.asked_for_policy.load(Ordering::Relaxed), 0);
    let version = shared.head().await.version;
    if agrees {
        *shared.away.policy.lock() = Some(Box::new(move |pdu| signature(pdu, version)));
    }
    shared
}

/// The policy server that the room names.
async fn named(shared: &Shared) -> PolicyServer {
    let (view, head) = (shared.view().await, shared.head().await);
    let policy = shared
        .house
        .rooms
        .state_event(&view, &head, head.state, "m.room.policy", "");
    PolicyServer::of(&policy.await.unwrap().unwrap().pdu).unwrap()
}

#[tokio::test]
async fn what_is_said_here_is_signed_or_refused() {
    let shared = guarded(true).await;
    let said = shared.house.say(&shared.room, "alice", "fine").await;
    let event = shared.stored(&said).await.unwrap();
    assert!(named(&shared).await.recommends(&event.pdu, event.version));
    *shared.away.policy.lock() = None;
    let before = shared.head().await;
    let content = json!({ "msgtype": "m.text", "body": "spam" });
    let send = shared
        .house
        .send(&shared.room, "alice", "m.room.message", content);
    let refused = send.await;
    assert!(
        matches!(&refused, Err(Error::Forbidden(reason)) if reason == "it looks like spam"),
        "{refused:?}"
    );
    assert_eq!(shared.head().await, before);
    // The policy itself can always be changed.
    let set = shared
        .house
        .set(&shared.room, "alice", "m.room.policy", json!({}));
    set.await.unwrap();
    shared.house.say(&shared.room, "alice", "free").await;
}

#[tokio::test]
async fn a_wrong_signature_is_none() {
    let shared = guarded(true).await;
    *shared.away.policy.lock() = Some(Box::new(|_| "c2lnbmF0dXJl".to_owned()));
    let content = json!({ "msgtype": "m.text", "body": "x" });
    let send = shared
        .house
        .send(&shared.room, "alice", "m.room.message", content);
    let refused = send.await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
}

#[tokio::test]
async fn what_comes_in_unsigned_is_asked_about_and_else_soft_failed() {
    let shared = guarded(true).await;
    let version = shared.head().await.version;
    let asked = || shared.away.asked_for_policy.load(Ordering::Relaxed);
    let newest = shared.newest().await;
    let unsigned = shared.message("unsigned", &[&newest]).await;
    shared.send("1", &[&unsigned]).await;
    let stored = shared.stored(unsigned.event_id()).await.unwrap();
    assert!(!stored.soft_failed);
    assert!(named(&shared).await.recommends(&stored.pdu, version));
    assert_eq!(asked(), 1);
    let signed = shared.message("signed", &[&unsigned]).await;
    let signed = countersign(&signed, version, &key()).unwrap();
    shared.send("2", &[&signed]).await;
    assert!(!shared.stored(signed.event_id()).await.unwrap().soft_failed);
    assert_eq!(asked(), 1);
    *shared.away.policy.lock() = None;
    let spam = shared.message("spam", &[&signed]).await;
    shared.send("3", &[&spam]).await;
    let stored = shared.stored(spam.event_id()).await.unwrap();
    assert!(stored.soft_failed && !stored.pdu.is_rejected());
    assert_eq!(asked(), 2);
    assert_eq!(shared.head().await.extremities, [signed.event_id()]);
    let found = shared.house.other.recompute(&shared.room).await.unwrap();
    assert_eq!(found.differences, Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_is_not_in_the_room_or_a_policy_without_a_key_guards_nothing() {
    let shared = Shared::open().await;
    let keys = json!({ "ed25519": key().verify_key() });
    let elsewhere = json!({ "via": "elsewhere", "public_keys": keys });
    let no_key = json!({ "via": "away", "public_keys": {} });
    for content in [elsewhere, no_key, json!({ "via": 1 })] {
        let set = shared
            .house
            .set(&shared.room, "alice", "m.room.policy", content);
        set.await.unwrap();
        shared.house.say(&shared.room, "alice", "free").await;
    }
    assert_eq!(shared.away.asked_for_policy.load(Ordering::Relaxed), 0);
}
