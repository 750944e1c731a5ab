//! A room with a policy server: what it signs is sent and taken, what it does not sign is not.

use std::sync::atomic::Ordering;

use hearth_protocol::{PolicyServer, SigningKey, countersign, federation_json, policy_signature};
use ruma::server_name;
use serde_json::json;

use super::receiving::{Made, Shared};
use crate::{Error, Policy, Verdict};

/// The key of the policy server, which is the other server.
fn key() -> SigningKey {
    SigningKey::generate(server_name!("away"), "ed25519:policy_server", [5; 32]).unwrap()
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
        *shared.away.policy.lock() = Some(Box::new(move |pdu| {
            policy_signature(pdu, version, &key()).unwrap()
        }));
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

#[tokio::test]
async fn this_server_may_be_the_one_who_is_asked() {
    let shared = Shared::open().await;
    let (rooms, away) = (&shared.house.rooms, server_name!("away"));
    let message = shared.message("from elsewhere", &[]).await;
    let judged = rooms.judge_for(away, &federation_json(&message)).await;
    assert!(matches!(judged, Err(Error::NotFound(_))));
    assert!(rooms.policy_key().is_none());

    let key = SigningKey::generate(server_name!("home"), "ed25519:1", [3; 32]).unwrap();
    let policy = key.for_policy().unwrap();
    let public = policy.verify_key();
    assert_ne!(public, key.verify_key());
    let listed = |expressions: &[&str]| expressions.iter().map(ToString::to_string).collect();
    let (senders, words): (Vec<_>, Vec<_>) = (listed(&["^@bad"]), listed(&["(?i)free money"]));
    Policy::new(key.for_policy().unwrap(), &listed(&["("]), &[], 2).unwrap_err();
    rooms.serve_policy(Policy::new(policy, &senders, &words, 2).unwrap());
    assert_eq!(rooms.policy_key(), Some(public.clone()));
    let content = json!({ "via": "home", "public_keys": { "ed25519": public } });
    let set = shared
        .house
        .set(&shared.room, "alice", "m.room.policy", content);
    set.await.unwrap();

    let said = shared.house.say(&shared.room, "alice", "fine").await;
    let event = shared.stored(&said).await.unwrap();
    let server = named(&shared).await;
    assert!(server.recommends(&event.pdu, event.version));
    let mentions = |count| {
        let users: Vec<_> = (0..count).map(|n| format!("@u{n}:home")).collect();
        json!({ "body": "you", "m.mentions": { "user_ids": users } })
    };
    let refused = [
        json!({ "body": "hello", "format": { "deep": ["take FREE money"] } }),
        mentions(3),
    ];
    for content in refused {
        let send = shared
            .house
            .send(&shared.room, "alice", "m.room.message", content);
        assert!(matches!(send.await, Err(Error::Forbidden(_))));
    }
    let send = shared
        .house
        .send(&shared.room, "alice", "m.room.message", mentions(2));
    send.await.unwrap();
    assert_eq!(shared.away.asked_for_policy.load(Ordering::Relaxed), 0);

    let Ok(Verdict::Signed(signature)) = rooms.judge_for(away, &federation_json(&message)).await
    else {
        panic!("it is not signed");
    };
    let signed = server.add(&message, event.version, signature).unwrap();
    assert!(server.recommends(&signed, event.version));
    let spam = shared.message("free money", &[]).await;
    let judged = rooms.judge_for(away, &federation_json(&spam)).await;
    assert!(matches!(judged, Ok(Verdict::Refused(_))));
    let made = Made {
        event_type: "m.room.policy",
        state_key: Some(""),
        content: json!({}),
        after: &[],
        names: &[],
    };
    let own = federation_json(&shared.make(made).await);
    let judged = rooms.judge_for(away, &own).await;
    assert!(matches!(judged, Err(Error::Refused { .. })));
}
