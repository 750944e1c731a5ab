#![allow(clippy::unwrap_used)]

use hearth_base::{ManualClock, Millis};
use hearth_store::Position;
use ruma::{
    OwnedUserId,
    push::{NewPushRule, NewSimplePushRule, RuleKind},
    room_id,
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{Error, NewAccount, NewDevice, Refusal, Users, keys::tests::fixture};

async fn account(users: &Users) -> OwnedUserId {
    let user = users.local_user("alice").unwrap();
    let account = NewAccount::new(user.clone(), None);
    users.register(account, None).await.unwrap();
    user
}

async fn set(users: &Users, user: &OwnedUserId, kind: &str, content: Value) {
    let content = to_raw_value(&content).unwrap();
    users
        .set_account_data(user, None, kind, &content)
        .await
        .unwrap();
}

/// The types that changed after `after`, and where to go on.
async fn news(users: &Users, user: &OwnedUserId, after: Position) -> (Vec<String>, Position) {
    let view = users.store.view().await.unwrap();
    let upto = view.position();
    let found = users
        .account_data_since(&view, user, after, upto)
        .await
        .unwrap();
    (found.into_iter().map(|datum| datum.kind).collect(), upto)
}

#[tokio::test]
async fn every_change_is_told_once_as_it_is_now() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let (kinds, begin) = news(&users, &alice, Position::ZERO).await;
    assert_eq!(kinds, ["m.push_rules"]);
    set(&users, &alice, "a", json!({ "n": 1 })).await;
    set(&users, &alice, "b", json!({ "n": 1 })).await;
    set(&users, &alice, "a", json!({ "n": 2 })).await;
    let (kinds, then) = news(&users, &alice, begin).await;
    assert_eq!(kinds, ["b", "a"]);
    // Nothing changed: nobody is told.
    set(&users, &alice, "a", json!({ "n": 2 })).await;
    assert!(news(&users, &alice, then).await.0.is_empty());
    let view = users.store.view().await.unwrap();
    let found = users.account_data(&view, &alice, None, "a").await.unwrap();
    assert_eq!(found.unwrap().get(), r#"{"n":2}"#);
    let (all, _) = news(&users, &alice, Position::ZERO).await;
    assert_eq!(all, ["b", "a", "m.push_rules"]);
}

#[tokio::test]
async fn what_is_no_object_is_refused() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    for bad in [json!([]), json!("x"), json!(null)] {
        let content = to_raw_value(&bad).unwrap();
        let refused = users.set_account_data(&alice, None, "a", &content).await;
        assert!(matches!(
            refused,
            Err(Error::Refused {
                kind: Refusal::BadJson,
                ..
            })
        ));
    }
}

#[tokio::test]
async fn tags_come_and_go_and_none_is_lost() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let room = room_id!("!tea:hearth.test");
    let names: Vec<String> = (0..8).map(|n| format!("u.tag{n}")).collect();
    let info = json!({ "order": 0.5 });
    let puts = names
        .iter()
        .map(|tag| users.set_tag(&alice, room, tag, &info));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    users.delete_tag(&alice, room, "u.tag0").await.unwrap();
    users.delete_tag(&alice, room, "never").await.unwrap();
    let view = users.store.view().await.unwrap();
    let tags = users.tags(&view, &alice, room).await.unwrap();
    assert_eq!(tags.len(), 7);
    assert_eq!(tags["u.tag3"], info);
    let found = users
        .account_data_since(&view, &alice, Position::ZERO, view.position())
        .await
        .unwrap();
    assert_eq!(found[0].kind, "m.tag");
    assert_eq!(found[0].room.as_deref(), Some(room));
}

#[tokio::test]
async fn push_rules_keep_the_predefined_ones() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let predefined = {
        let view = users.store.view().await.unwrap();
        users.push_rules(&view, &alice).await.unwrap()
    };
    assert!(
        predefined
            .get(RuleKind::Override, ".m.rule.master")
            .is_some()
    );
    let room = room_id!("!tea:hearth.test");
    users
        .change_push_rules(&alice, |rules| {
            let rule = NewSimplePushRule::new(room.to_owned(), Vec::new());
            Ok(rules.insert(NewPushRule::Room(rule), None, None)?)
        })
        .await
        .unwrap();
    users
        .change_push_rules(&alice, |rules| {
            Ok(rules.set_enabled(RuleKind::Override, ".m.rule.master", true)?)
        })
        .await
        .unwrap();
    let view = users.store.view().await.unwrap();
    let now = users.push_rules(&view, &alice).await.unwrap();
    assert_eq!(now.iter().count(), predefined.iter().count() + 1);
    assert!(
        now.get(RuleKind::Override, ".m.rule.master")
            .unwrap()
            .enabled()
    );
    assert!(now.get(RuleKind::Room, room).is_some());
    let removed = users
        .change_push_rules(&alice, |rules| {
            Ok(rules.remove(RuleKind::Override, ".m.rule.master")?)
        })
        .await;
    assert!(matches!(
        removed,
        Err(Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        })
    ));
    let unknown = users
        .change_push_rules(&alice, |rules| Ok(rules.remove(RuleKind::Room, "!none:x")?))
        .await;
    assert!(matches!(unknown, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_filter_is_kept_byte_for_byte_and_once() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let text = r#"{"room": {"timeline":{"limit":10}},  "x":1.0}"#;
    let filter: Box<serde_json::value::RawValue> = serde_json::from_str(text).unwrap();
    let id = users.put_filter(&alice, &filter).await.unwrap();
    assert_eq!(users.put_filter(&alice, &filter).await.unwrap(), id);
    let view = users.store.view().await.unwrap();
    let found = users.filter(&view, &alice, &id).await.unwrap().unwrap();
    assert_eq!(found.get(), text);
    assert!(users.filter(&view, &alice, "0").await.unwrap().is_none());
}

#[tokio::test]
async fn a_pusher_goes_with_its_device() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let bob = users.local_user("bob").unwrap();
    let account = NewAccount::new(bob.clone(), None);
    users.register(account, None).await.unwrap();
    let session = async |user: &OwnedUserId| {
        let login = users.login_as(user, &NewDevice::default()).await.unwrap();
        users
            .authenticate(&login.access_token)
            .await
            .unwrap()
            .unwrap()
    };
    let (of_alice, of_bob) = (session(&alice).await, session(&bob).await);
    let pusher = to_raw_value(&json!({ "app_id": "app", "pushkey": "key" })).unwrap();
    let count = async |user: &OwnedUserId| {
        let view = users.store.view().await.unwrap();
        users.pushers(&view, user).await.unwrap().len()
    };
    let set = async |session, append| {
        users
            .set_pusher(session, "app", "key", &pusher, append)
            .await
            .unwrap();
    };
    set(&of_alice, false).await;
    set(&of_bob, true).await;
    assert_eq!((count(&alice).await, count(&bob).await), (1, 1));
    set(&of_alice, false).await;
    assert_eq!((count(&alice).await, count(&bob).await), (1, 0));
    users
        .delete_devices(&alice, &[of_alice.device_id])
        .await
        .unwrap();
    assert_eq!(count(&alice).await, 0);
}
