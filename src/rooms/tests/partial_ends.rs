//! Who was or will be in a room that is joined without its members: invited before, put out after, or gone.

use hearth_protocol::RoomVersion;
use ruma::server_name;
use serde_json::{json, value::to_raw_value};

use super::{
    House, is_forbidden,
    partial::{Neighbours, far},
    user,
};
use crate::{Act, MemberChange, NewEvent};

#[tokio::test]
async fn who_was_invited_before_this_server_came_in_is_counted() {
    let all = Neighbours::meet().await;
    let counts = async |house: &House| {
        let view = house.view().await;
        let head = house.rooms.head(&view, &all.room).await.unwrap().unwrap();
        (head.joined, head.invited)
    };
    for name in ["bob", "carl"] {
        let invite = MemberChange::of(all.room.clone(), far("ann"), user(name), Act::Invite);
        let invited = all.far.rooms.change_membership_through(invite, &[]).await;
        invited.unwrap();
    }
    assert_eq!(counts(&all.far).await, (2, 2));
    all.enter("alice").await;
    all.complete().await;
    assert_eq!(counts(&all.home).await, (3, 2));
    all.enter("bob").await;
    assert_eq!(counts(&all.home).await, (4, 1));
}

#[tokio::test]
async fn who_is_put_out_learns_what_led_to_it() {
    let all = Neighbours::with_alice().await;
    all.complete().await;
    let topic = to_raw_value(&json!({ "topic": "no aliens" })).unwrap();
    let topic = NewEvent::state(all.room.clone(), far("ann"), "m.room.topic", "", topic);
    let topic = all.far.rooms.send(topic).await.unwrap();
    let ban = MemberChange::of(all.room.clone(), far("ann"), user("alice"), Act::Ban);
    let ban = all.far.rooms.change_membership(ban).await.unwrap();
    // Only the ban arrives.
    let view = all.far.view().await;
    let ban = all.far.rooms.event(&view, &ban).await.unwrap().unwrap();
    all.take(&ban.pdu).await;
    assert!(!all.stored(&topic).await.is_outlier());
    assert!(!all.is_joined(&user("alice")).await);
    // That is all: what comes later is none of its business.
    let text = to_raw_value(&json!({ "msgtype": "m.text", "body": "gone" })).unwrap();
    let later = NewEvent::message(all.room.clone(), far("ann"), "m.room.message", text);
    let later = all.far.rooms.send(later).await.unwrap();
    let (view, home) = (all.far.view().await, server_name!("home"));
    let asked = all
        .far
        .rooms
        .missing_events_for(&view, home, &all.room, (&[], &[later]), 10)
        .await;
    assert!(is_forbidden(&asked));
}

#[tokio::test]
async fn nothing_was_before_the_first_event() {
    let all = Neighbours::meet_in(RoomVersion::parse("10").unwrap()).await;
    all.enter("alice").await;
    let view = all.far.view().await;
    let head = all.far.rooms.head(&view, &all.room).await.unwrap().unwrap();
    let create = all
        .far
        .rooms
        .state_event(&view, &head, head.state, "m.room.create", "");
    let create = create.await.unwrap().unwrap();
    assert!(all.stored(create.event_id()).await.is_outlier());
    assert!(!all.take(&create.pdu).await.is_outlier());
    all.complete().await;
    let stored = all.stored(create.event_id()).await;
    assert_eq!(stored.state_before, create.state_before);
}

#[tokio::test]
async fn a_server_that_left_still_tells_who_came_in_through_it() {
    let all = Neighbours::with_alice().await;
    for name in ["ben", "ann"] {
        let leave = MemberChange::own(all.room.clone(), far(name), Act::Leave);
        let left = all.far.rooms.change_membership(leave).await.unwrap();
        let view = all.far.view().await;
        let left = all.far.rooms.event(&view, &left).await.unwrap().unwrap();
        all.take(&left.pdu).await;
    }
    all.complete().await;
    assert!(!all.is_partial().await);
    assert!(!all.is_joined(&far("ann")).await);
    assert_eq!(all.state(&all.home).await, all.state(&all.far).await);
}

#[tokio::test]
async fn who_accepts_an_invite_is_shown_as_invited_before() {
    let all = Neighbours::meet().await;
    let invite = MemberChange::of(all.room.clone(), far("ann"), user("alice"), Act::Invite);
    let invite = all.far.rooms.change_membership_through(invite, &[]).await;
    all.enter("alice").await;
    let (view, head) = (all.home.view().await, all.head().await);
    let alice = user("alice");
    let joined = all.home.rooms.membership(&view, &alice, &all.room).await;
    let joined = all.stored(&joined.unwrap().unwrap().event_id).await;
    let before = all.home.rooms.state_event(
        &view,
        &head,
        joined.state_before,
        "m.room.member",
        "@alice:home",
    );
    let before = before.await.unwrap().unwrap();
    assert_eq!(before.event_id(), invite.unwrap());
}
