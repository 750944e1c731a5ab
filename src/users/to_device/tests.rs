#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use hearth_base::{ManualClock, Millis};
use hearth_store::{Batch, Position};
use ruma::{UserId, events::AnyToDeviceEventContent, serde::Raw, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::{COUNTS, MAX_QUEUE, QUEUES, ToDeviceMessages};
use crate::{
    Users,
    keys::tests::{arrive, fixture},
};

fn alice() -> &'static UserId {
    user_id!("@alice:hearth.test")
}

fn to(device: &str, text: &str) -> ToDeviceMessages<AnyToDeviceEventContent> {
    let content = Raw::from_json(to_raw_value(&json!({ "text": text })).unwrap());
    let target = serde_json::from_value(device.into()).unwrap();
    BTreeMap::from([(alice().to_owned(), BTreeMap::from([(target, content)]))])
}

async fn send(users: &Users, transaction: &str, device: &str, text: &str) {
    let sender = (user_id!("@bob:hearth.test"), "B".into());
    users
        .send_to_device(sender, "m.test", transaction.into(), &to(device, text))
        .await
        .unwrap();
}

/// The texts that wait for a device of Alice's, with their positions.
async fn waiting(
    users: &Users,
    device: &str,
    after: Position,
    limit: usize,
) -> Vec<(Position, String)> {
    let view = users.store.view().await.unwrap();
    let upto = view.position();
    let found = users
        .to_device_since(&view, alice(), device.into(), after, upto, limit)
        .await
        .unwrap();
    let text = |(position, raw): (Position, Raw<_>)| {
        let event: Value = serde_json::from_str(raw.json().get()).unwrap();
        assert_eq!(event["sender"], "@bob:hearth.test");
        assert_eq!(event["type"], "m.test");
        (
            position,
            event["content"]["text"].as_str().unwrap().to_owned(),
        )
    };
    found.into_iter().map(text).collect()
}

fn texts(messages: &[(Position, String)]) -> Vec<&str> {
    messages.iter().map(|(_, text)| text.as_str()).collect()
}

async fn counted(users: &Users, device: &str) -> i64 {
    let view = users.store.view().await.unwrap();
    view.get(&COUNTS, (alice().as_str(), device))
        .await
        .unwrap()
        .unwrap_or_default()
}

#[tokio::test]
async fn messages_wait_in_order_until_they_are_acknowledged() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    arrive(&users, alice(), "P").await;
    arrive(&users, alice(), "T").await;
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        send(&users, &format!("t{n}"), "P", text).await;
    }
    send(&users, "all", "*", "four").await;
    send(&users, "unknown", "X", "lost").await;

    let got = waiting(&users, "P", Position::ZERO, 10).await;
    assert_eq!(texts(&got), ["one", "two", "three", "four"]);
    assert_eq!(
        texts(&waiting(&users, "T", Position::ZERO, 10).await),
        ["four"]
    );
    assert_eq!(
        texts(&waiting(&users, "X", Position::ZERO, 10).await),
        [""; 0]
    );

    // Asked again without an acknowledgement, the same comes again; pages follow each other.
    let page = waiting(&users, "P", Position::ZERO, 2).await;
    assert_eq!(texts(&page), ["one", "two"]);
    assert_eq!(
        texts(&waiting(&users, "P", page[1].0, 2).await),
        ["three", "four"]
    );

    users
        .acknowledge_to_device(alice(), "P".into(), page[1].0)
        .await
        .unwrap();
    users
        .acknowledge_to_device(alice(), "P".into(), page[1].0)
        .await
        .unwrap();
    assert_eq!(
        texts(&waiting(&users, "P", Position::ZERO, 10).await),
        ["three", "four"]
    );
    assert_eq!(counted(&users, "P").await, 2);
    assert_eq!(counted(&users, "T").await, 1);
}

#[tokio::test]
async fn a_transaction_id_counts_once_for_a_day() {
    let clock = ManualClock::at(Millis(1));
    let (_folder, users) = fixture(clock.clone());
    arrive(&users, alice(), "P").await;
    send(&users, "t", "P", "one").await;
    send(&users, "t", "P", "again").await;
    assert_eq!(
        texts(&waiting(&users, "P", Position::ZERO, 10).await),
        ["one"]
    );
    clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    send(&users, "u", "P", "two").await;
    send(&users, "t", "P", "three").await;
    let got = waiting(&users, "P", Position::ZERO, 10).await;
    assert_eq!(texts(&got), ["one", "two", "three"]);
}

#[tokio::test]
async fn concurrent_senders_and_acknowledgements_keep_the_count() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    arrive(&users, alice(), "P").await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let users = users.clone();
            tokio::spawn(async move {
                send(&users, &format!("t{n}"), "P", "x").await;
                let upto = users.store.view().await.unwrap().position();
                users
                    .acknowledge_to_device(alice(), "P".into(), upto)
                    .await
                    .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        texts(&waiting(&users, "P", Position::ZERO, 10).await),
        [""; 0]
    );
    assert_eq!(counted(&users, "P").await, 0);
}

#[tokio::test]
async fn a_full_queue_loses_its_oldest() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    arrive(&users, alice(), "P").await;
    let mut batch = Batch::new();
    for n in 0..MAX_QUEUE {
        let event = json!({ "sender": "@bob:hearth.test", "type": "m.test", "content": { "text": n.to_string() } });
        let place = (alice().as_str(), "P", batch.position());
        batch.put(&QUEUES, place, bytes::Bytes::from(event.to_string()));
        batch.add(&COUNTS, (alice().as_str(), "P"), 1);
    }
    users.store.commit(batch).await.unwrap();
    send(&users, "t", "P", "newest").await;
    let got = waiting(&users, "P", Position::ZERO, MAX_QUEUE).await;
    assert_eq!(got[0].1, "100");
    assert_eq!(got[got.len() - 1].1, "newest");
    assert_eq!(
        usize::try_from(counted(&users, "P").await).unwrap(),
        got.len()
    );
}
