//! Memberships: what leads to what, restricted joins, knocking, forgetting.

use serde_json::json;

use super::{House, is_forbidden, user};
use crate::{Act, Error, Membership, Preset, Refusal};

/// The way into each membership for `@bob` in a room of `@alice`'s to which he was invited.
fn way(to: Option<Membership>) -> Vec<(&'static str, Act)> {
    match to {
        None => vec![],
        Some(Membership::Invite) => vec![("alice", Act::Invite)],
        Some(Membership::Join) => vec![("alice", Act::Invite), ("bob", Act::Join)],
        Some(Membership::Leave) => vec![("alice", Act::Invite), ("bob", Act::Leave)],
        Some(Membership::Ban) => vec![("alice", Act::Ban)],
        Some(Membership::Knock) => vec![("bob", Act::Knock)],
    }
}

#[tokio::test]
async fn the_table_of_transitions() {
    use Membership::{Ban, Invite, Join, Knock, Leave};
    let all = [
        (Act::Join, "bob", [false, true, true, false, false, false]),
        (Act::Leave, "bob", [false, true, true, false, false, true]),
        (Act::Knock, "bob", [true, false, false, true, false, true]),
        (Act::Invite, "alice", [true, true, false, true, false, true]),
        (Act::Kick, "alice", [false, true, true, false, false, true]),
        (Act::Ban, "alice", [true, true, true, true, true, true]),
        (
            Act::Unban,
            "alice",
            [false, false, false, false, true, false],
        ),
    ];
    let house = House::open();
    for (act, by, allowed) in all {
        let befores = [
            None,
            Some(Invite),
            Some(Join),
            Some(Leave),
            Some(Ban),
            Some(Knock),
        ];
        for (before, allowed) in befores.into_iter().zip(allowed) {
            let room = house.room(Preset::PrivateChat).await;
            house
                .set(
                    &room,
                    "alice",
                    "m.room.join_rules",
                    json!({ "join_rule": "knock" }),
                )
                .await
                .unwrap();
            for (by, act) in way(before) {
                house.act(&room, by, "bob", act).await.unwrap();
            }
            let done = house.act(&room, by, "bob", act).await;
            assert_eq!(done.is_ok(), allowed, "{act:?} after {before:?}: {done:?}");
            let view = house.view().await;
            let now = house
                .rooms
                .membership(&view, &user("bob"), &room)
                .await
                .unwrap();
            let now = now.map(|member| member.membership);
            assert_eq!(now, if allowed { Some(act.result()) } else { before });
            let head = house.rooms.head(&view, &room).await.unwrap().unwrap();
            let is = |m: Membership| u64::from(now == Some(m));
            assert_eq!((head.joined, head.invited), (1 + is(Join), is(Invite)));
        }
    }
}

#[tokio::test]
async fn only_who_is_banned_is_unbanned() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let refused = house
        .act(&room, "alice", "bob", Act::Unban)
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::BadState,
            ..
        }
    ));
    assert!(is_forbidden(
        &house.act(&room, "bob", "alice", Act::Kick).await
    ));
    let nowhere = ruma::room_id!("!nowhere:home").to_owned();
    assert!(matches!(
        house.join(&nowhere, "bob").await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn members_of_an_allowed_room_may_join() {
    let house = House::open();
    let club = house.company(&["alice", "bob"]).await;
    let room = house.room(Preset::PrivateChat).await;
    let rules = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": club }] });
    house
        .set(&room, "alice", "m.room.join_rules", rules)
        .await
        .unwrap();
    assert!(is_forbidden(&house.join(&room, "carol").await));
    house.join(&room, "bob").await.unwrap();
    house
        .act(&room, "alice", "carol", Act::Invite)
        .await
        .unwrap();
    house.join(&room, "carol").await.unwrap();
}

#[tokio::test]
async fn a_second_join_is_no_event_and_a_new_name_is_one() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let first = house.join(&room, "bob").await.unwrap();
    assert_eq!(house.join(&room, "bob").await.unwrap(), first);
    let profile = crate::Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: None,
    };
    let second = house
        .rooms
        .update_profile(room.clone(), user("bob"), profile)
        .await
        .unwrap();
    assert_ne!(first, second);
    let view = house.view().await;
    let head = house.rooms.head(&view, &room).await.unwrap().unwrap();
    assert_eq!(head.joined, 2);
}

#[tokio::test]
async fn indexes_follow_who_comes_and_goes() {
    let house = House::open();
    let room = house.company(&["alice", "bob", "carol"]).await;
    house
        .act(&room, "carol", "carol", Act::Leave)
        .await
        .unwrap();
    let view = house.view().await;
    let local = house.rooms.local_members(&view, &room).await.unwrap();
    assert_eq!(local, [user("alice"), user("bob")]);
    let joined = house.rooms.joined_members(&view, &room).await.unwrap();
    assert_eq!(joined.len(), 2);
    assert_eq!(
        house.rooms.members(&view, &room, None).await.unwrap().len(),
        3
    );
    assert_eq!(
        house
            .rooms
            .members(&view, &room, Some(&user("alice")))
            .await
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        house
            .rooms
            .heroes(&view, &room, &user("alice"))
            .await
            .unwrap(),
        [user("bob")]
    );
    assert_eq!(
        house.rooms.joined_rooms(&view, &user("bob")).await.unwrap(),
        std::slice::from_ref(&room)
    );
    assert!(
        house
            .rooms
            .joined_rooms(&view, &user("carol"))
            .await
            .unwrap()
            .is_empty()
    );

    let bob = user("bob");
    assert!(house.rooms.forget(&room, &bob).await.is_err());
    house.rooms.forget(&room, &user("carol")).await.unwrap();
    let view = house.view().await;
    assert!(
        house
            .rooms
            .rooms_of(&view, &user("carol"))
            .await
            .unwrap()
            .is_empty()
    );
    let state = house
        .rooms
        .readable_state(&view, &user("carol"), &room)
        .await;
    assert!(matches!(state, Err(Error::Forbidden(_))));
}
