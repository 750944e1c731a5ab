//! History visibility: each setting against what the reader was when the event was sent, and became later.

use serde_json::json;

use super::{House, user};
use crate::{Act, Preset};

/// What `@bob` was before the event, and what he did after.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Was {
    Nothing,
    Invited,
    Joined,
    Left,
}

#[tokio::test]
async fn the_table_of_visibility() {
    use Was::{Invited, Joined, Left, Nothing};
    let house = House::open();
    // For each membership at the time: seen by one who joins later; seen by one who does nothing later.
    let table = [
        ("world_readable", Nothing, true, true),
        ("world_readable", Invited, true, true),
        ("world_readable", Joined, true, true),
        ("world_readable", Left, true, true),
        ("shared", Nothing, true, false),
        ("shared", Invited, true, false),
        ("shared", Joined, true, true),
        ("shared", Left, true, false),
        ("invited", Nothing, false, false),
        ("invited", Invited, true, true),
        ("invited", Joined, true, true),
        ("invited", Left, false, false),
        ("joined", Nothing, false, false),
        ("joined", Invited, false, false),
        ("joined", Joined, true, true),
        ("joined", Left, false, false),
    ];
    for (setting, was, joining, staying) in table {
        let room = house.room(Preset::PrivateChat).await;
        house
            .set(
                &room,
                "alice",
                "m.room.history_visibility",
                json!({ "history_visibility": setting }),
            )
            .await
            .unwrap();
        for act in match was {
            Nothing => &[][..],
            Invited => &[Act::Invite],
            Joined => &[Act::Invite, Act::Join],
            Left => &[Act::Invite, Act::Join, Act::Leave],
        } {
            let by = if *act == Act::Invite { "alice" } else { "bob" };
            house.act(&room, by, "bob", *act).await.unwrap();
        }
        let message = house.say(&room, "alice", "secret").await;
        let topic = house
            .set(&room, "alice", "m.room.topic", json!({ "topic": "t" }))
            .await
            .unwrap();
        let seen = async |id: &ruma::EventId| {
            let view = house.view().await;
            let event = house.rooms.event(&view, id).await.unwrap().unwrap();
            house
                .rooms
                .visible(&view, &user("bob"), &event)
                .await
                .unwrap()
        };
        for id in [&message, &topic] {
            assert_eq!(seen(id).await, staying, "{setting} {was:?}");
        }
        if was != Joined {
            if was != Invited {
                house.act(&room, "alice", "bob", Act::Invite).await.unwrap();
            }
            let own = house.join(&room, "bob").await.unwrap();
            assert!(seen(&own).await);
            for id in [&message, &topic] {
                assert_eq!(seen(id).await, joining, "{setting} {was:?}, joined later");
            }
            // Leaving takes nothing back.
            house.act(&room, "bob", "bob", Act::Leave).await.unwrap();
            assert_eq!(
                seen(&message).await,
                joining,
                "{setting} {was:?}, joined and left"
            );
        } else {
            house.act(&room, "bob", "bob", Act::Leave).await.unwrap();
            assert!(seen(&message).await);
            let later = house.say(&room, "alice", "gone?").await;
            assert_eq!(seen(&later).await, setting == "world_readable");
        }
    }
}

#[tokio::test]
async fn a_change_of_the_setting_is_seen_if_either_side_shows_it() {
    let house = House::open();
    let room = house.company(&["alice"]).await;
    let set = |value: &'static str| {
        house.set(
            &room,
            "alice",
            "m.room.history_visibility",
            json!({ "history_visibility": value }),
        )
    };
    let opened = set("world_readable").await.unwrap();
    let closed = set("joined").await.unwrap();
    let hidden = set("invited").await.unwrap();
    let view = house.view().await;
    for (id, expected) in [(opened, true), (closed, true), (hidden, false)] {
        let event = house.rooms.event(&view, &id).await.unwrap().unwrap();
        assert_eq!(
            house
                .rooms
                .visible(&view, &user("eve"), &event)
                .await
                .unwrap(),
            expected
        );
    }
}

#[tokio::test]
async fn who_left_reads_the_state_of_that_moment() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    house
        .set(&room, "alice", "m.room.name", json!({ "name": "before" }))
        .await
        .unwrap();
    house.act(&room, "bob", "bob", Act::Leave).await.unwrap();
    house
        .set(&room, "alice", "m.room.name", json!({ "name": "after" }))
        .await
        .unwrap();
    let view = house.view().await;
    for (name, expected) in [("alice", "after"), ("bob", "before")] {
        let event = house
            .rooms
            .readable_state_event(&view, &user(name), &room, "m.room.name", "")
            .await
            .unwrap();
        assert!(event.pdu.content().get().contains(expected));
    }
    let eve = house.rooms.readable_state(&view, &user("eve"), &room).await;
    assert!(super::is_forbidden(&eve));
}
