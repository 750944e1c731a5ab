//! What is unread by the rules of a user's own.

use ruma::push::{
    Action, ConditionalPushRule, HighlightTweakValue, NewPatternedPushRule, NewPushRule,
    NewSimplePushRule, RuleKind, Tweak,
};
use serde_json::json;

use super::*;

/// Notifications and highlights of a room, as a first sync tells them.
async fn counts(house: &House, session: &Session, room: &OwnedRoomId) -> (u64, u64) {
    let (_, answer) = house.first(session).await;
    let told = &joined(&answer, room)["unread_notifications"];
    let count = |name: &str| told[name].as_u64().unwrap();
    (count("notification_count"), count("highlight_count"))
}

async fn rule(house: &House, session: &Session, rule: NewPushRule) {
    let change = house.users.change_push_rules(&session.user_id, |rules| {
        Ok(rules.insert(rule.clone(), None, None)?)
    });
    change.await.unwrap();
}

fn loudly() -> Vec<Action> {
    let highlight = Tweak::Highlight(HighlightTweakValue::Yes);
    vec![Action::Notify, Action::SetTweak(highlight)]
}

fn keyword(word: &str) -> NewPushRule {
    let rule = NewPatternedPushRule::new(word.to_owned(), word.to_owned(), loudly());
    NewPushRule::Content(rule)
}

#[tokio::test]
async fn a_keyword_highlights_for_whoever_has_it() {
    let house = House::open();
    let alice = house.account("alice").await;
    let bob = house.account("bob").await;
    let room = house.company(&["carol", "alice", "bob"]).await;
    rule(&house, &alice, keyword("tea")).await;
    house.say(&room, "carol", "there is tea").await;
    house.say(&room, "carol", "and cake").await;
    assert_eq!(counts(&house, &alice, &room).await, (2, 1));
    assert_eq!(counts(&house, &bob, &room).await, (2, 0));
    // What came since is added to what was counted.
    house.say(&room, "carol", "more TEA, please").await;
    assert_eq!(counts(&house, &alice, &room).await, (3, 2));
    rule(&house, &bob, keyword("tea")).await;
    assert_eq!(counts(&house, &bob, &room).await, (3, 2));
    house.say(&room, "alice", "it is read").await;
    assert_eq!(counts(&house, &alice, &room).await, (0, 0));
}

#[tokio::test]
async fn a_muted_room_is_quiet_and_others_are_not() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["carol", "alice"]).await;
    let other = house.company(&["carol", "alice"]).await;
    let mute = json!({
        "rule_id": "mute", "actions": [],
        "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": room }],
    });
    rule(
        &house,
        &alice,
        NewPushRule::Override(serde_json::from_value(mute).unwrap()),
    )
    .await;
    for room in [&room, &other] {
        house.say(room, "carol", "hello alice").await;
    }
    assert_eq!(counts(&house, &alice, &room).await, (0, 0));
    assert_eq!(counts(&house, &alice, &other).await, (1, 1));
}

#[tokio::test]
async fn a_quiet_room_tells_mentions_only() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["carol", "alice"]).await;
    let quiet = NewSimplePushRule::new(room.clone(), Vec::new());
    rule(&house, &alice, NewPushRule::Room(quiet)).await;
    house.say(&room, "carol", "to everybody").await;
    let content = json!({
        "msgtype": "m.text", "body": "to you",
        "m.mentions": { "user_ids": [user("alice")] },
    });
    house.send(&room, "carol", "m.room.message", content).await;
    assert_eq!(counts(&house, &alice, &room).await, (1, 1));
}

#[tokio::test]
async fn rules_about_senders_and_switched_off_defaults() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["carol", "alice", "dave"]).await;
    let loud = NewSimplePushRule::new(user("dave"), loudly());
    rule(&house, &alice, NewPushRule::Sender(loud)).await;
    let off = house.users.change_push_rules(&alice.user_id, |rules| {
        rules
            .set_enabled(RuleKind::Underride, ".m.rule.message", false)
            .unwrap();
        Ok(())
    });
    off.await.unwrap();
    house.say(&room, "carol", "not told").await;
    house.say(&room, "dave", "told").await;
    assert_eq!(counts(&house, &alice, &room).await, (1, 1));
    let all_off = house.users.change_push_rules(&alice.user_id, |rules| {
        rules
            .set_enabled(
                RuleKind::Override,
                ConditionalPushRule::master().rule_id,
                true,
            )
            .unwrap();
        Ok(())
    });
    all_off.await.unwrap();
    assert_eq!(counts(&house, &alice, &room).await, (0, 0));
}

#[tokio::test]
async fn what_notified_is_listed_newest_first() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["carol", "alice"]).await;
    let other = house.company(&["carol", "alice"]).await;
    let mut said = Vec::new();
    for number in 0..30 {
        let room = if number % 3 == 0 { &other } else { &room };
        let text = if number == 7 { "alice" } else { "all" };
        said.push(house.say(room, "carol", text).await);
    }
    let view = house.view().await;
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = house
            .sync
            .notifications(&view, &alice.user_id, before, 7, false)
            .await
            .unwrap();
        listed.extend(
            page.notified
                .iter()
                .map(|one| one.event.event_id().to_owned()),
        );
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    said.reverse();
    assert_eq!(listed, said);
    let loud = house
        .sync
        .notifications(&view, &alice.user_id, None, 7, true)
        .await
        .unwrap();
    let loud: Vec<_> = loud
        .notified
        .iter()
        .map(|one| one.event.event_id())
        .collect();
    assert_eq!(loud, [&*said[22]]);
}
