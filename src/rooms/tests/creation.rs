//! New rooms: presets, overrides, every version, upgrades.

use hearth_protocol::{Level, RoomVersion};
use hearth_store::Direction;
use ruma::room_alias_id;
use serde_json::{json, value::to_raw_value};

use super::{House, is_forbidden, user};
use crate::{Error, InitialState, Membership, NewRoom, Preset, Profile, Refusal, head::HEADS};

fn state(event_type: &str, content: serde_json::Value) -> InitialState {
    InitialState {
        event_type: event_type.to_owned(),
        state_key: String::new(),
        content: to_raw_value(&content).unwrap(),
    }
}

#[tokio::test]
async fn presets_say_who_may_come_and_what_guests_may() {
    let house = House::open();
    for (preset, join_rule, guests) in [
        (Preset::PrivateChat, "invite", Some("can_join")),
        (Preset::TrustedPrivateChat, "invite", Some("can_join")),
        // No event says the same as one that forbids.
        (Preset::PublicChat, "public", None),
    ] {
        let room = house.room(preset).await;
        assert_eq!(
            house.content(&room, "m.room.join_rules").await["join_rule"],
            join_rule
        );
        let access = house.content(&room, "m.room.guest_access").await;
        assert_eq!(access["guest_access"].as_str(), guests);
        let visibility = house.content(&room, "m.room.history_visibility").await;
        assert_eq!(visibility["history_visibility"], "shared");
    }
}

#[tokio::test]
async fn every_version_is_made_spoken_in_and_replaced() {
    let house = House::open();
    for version in RoomVersion::ALL {
        let mut room = NewRoom::by(user("alice"));
        room.version = Some(version);
        room.name = Some("Den".to_owned());
        room.preset = Some(Preset::TrustedPrivateChat);
        room.invite = vec![(user("bob"), Profile::default())];
        let room = house.rooms.create(room).await.unwrap();
        house.join(&room, "bob").await.unwrap();
        house.say(&room, "bob", "hello").await;
        let create = house.content(&room, "m.room.create").await;
        assert_eq!(create["room_version"], version.as_str());
        let view = house.view().await;
        let head = house.rooms.head(&view, &room).await.unwrap().unwrap();
        assert_eq!((head.version, head.joined, head.invited), (version, 2, 0));
        let levels = house
            .rooms
            .power_levels(&view, &head, head.state)
            .await
            .unwrap();
        assert_eq!(
            levels.user(&user("alice")),
            levels.user(&user("bob")),
            "{version}"
        );
        let is_sovereign = levels.user(&user("bob")) == Level::Infinite;
        assert_eq!(is_sovereign, version.has_hashed_room_ids());

        for target in [RoomVersion::ALL[9], RoomVersion::default()] {
            let new = house
                .rooms
                .upgrade(&room, &user("alice"), Profile::default(), target, vec![])
                .await
                .unwrap();
            let tombstone = house.content(&room, "m.room.tombstone").await;
            assert_eq!(tombstone["replacement_room"], new.as_str());
            let create = house.content(&new, "m.room.create").await;
            assert_eq!(create["predecessor"]["room_id"], room.as_str());
            assert_eq!(house.content(&new, "m.room.name").await["name"], "Den");
        }
    }
}

#[tokio::test]
async fn what_is_given_replaces_what_the_preset_says() {
    let house = House::open();
    let mut room = NewRoom::by(user("alice"));
    room.is_public = true;
    room.alias = Some("den".to_owned());
    room.topic = Some("about".to_owned());
    room.invite = vec![(
        user("bob"),
        Profile {
            displayname: Some("Bob".to_owned()),
            avatar_url: None,
        },
    )];
    room.is_direct = true;
    room.power_levels = Some(to_raw_value(&json!({ "invite": 30, "events": {} })).unwrap());
    room.initial_state = vec![
        state(
            "m.room.history_visibility",
            json!({ "history_visibility": "joined" }),
        ),
        state(
            "m.room.encryption",
            json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
        ),
    ];
    let id = house.rooms.create(room.clone()).await.unwrap();
    let levels = house.content(&id, "m.room.power_levels").await;
    assert_eq!(
        (&levels["invite"], &levels["events"], &levels["ban"]),
        (&30.into(), &json!({}), &50.into())
    );
    let visibility = house.content(&id, "m.room.history_visibility").await;
    assert_eq!(visibility["history_visibility"], "joined");
    let view = house.view().await;
    let summary = house.rooms.summary(&view, &id).await.unwrap().unwrap();
    assert_eq!(summary.canonical_alias.as_deref(), Some("#den:home"));
    assert_eq!(summary.encryption.as_deref(), Some("m.megolm.v1.aes-sha2"));
    assert_eq!(
        (summary.topic.as_deref(), summary.joined),
        (Some("about"), 1)
    );
    let alias = house
        .rooms
        .resolve_alias(&view, room_alias_id!("#den:home"))
        .await
        .unwrap();
    assert_eq!(alias, Some((id.clone(), user("alice"))));
    assert_eq!(
        house.rooms.published(&view).await.unwrap(),
        std::slice::from_ref(&id)
    );
    let bob = house.rooms.rooms_of(&view, &user("bob")).await.unwrap();
    assert_eq!(
        (bob[0].0.clone(), bob[0].1.membership),
        (id.clone(), Membership::Invite)
    );
    let invite = house
        .rooms
        .event(&view, &bob[0].1.event_id)
        .await
        .unwrap()
        .unwrap();
    let content: serde_json::Value = serde_json::from_str(invite.pdu.content().get()).unwrap();
    assert_eq!(
        content,
        json!({ "membership": "invite", "displayname": "Bob", "is_direct": true })
    );
    let head = house.rooms.head(&view, &id).await.unwrap().unwrap();
    let shown = house
        .rooms
        .stripped_state(&view, &head, head.state, &user("bob"))
        .await
        .unwrap();
    assert!(
        shown
            .iter()
            .any(|event| event.get().contains("m.room.create"))
    );
    assert!(shown.iter().any(|event| event.get().contains("is_direct")));

    let taken = house.rooms.create(room).await.unwrap_err();
    assert!(
        matches!(
            taken,
            Error::Refused {
                kind: Refusal::RoomInUse,
                ..
            }
        ),
        "{taken}"
    );
    // Nothing of the refused room is left.
    let view = house.view().await;
    assert_eq!(
        house
            .rooms
            .rooms_of(&view, &user("bob"))
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn settings_that_contradict_themselves_are_refused() {
    let house = House::open();
    let mut room = NewRoom::by(user("alice"));
    room.power_levels = Some(to_raw_value(&json!({ "users": { "@alice:home": 100 } })).unwrap());
    let refused = house.rooms.create(room).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Refused {
                kind: Refusal::InvalidRoomState,
                ..
            }
        ),
        "{refused}"
    );
    let mut room = NewRoom::by(user("alice"));
    room.alias = Some("a:b".to_owned());
    let refused = house.rooms.create(room).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Refused {
                kind: Refusal::InvalidParam,
                ..
            }
        ),
        "{refused}"
    );
}

/// Room ids of all rooms that there are.
async fn all_rooms(house: &House) -> Vec<String> {
    let all = "".."\u{10FFFF}";
    let view = house.view().await;
    let heads = view.scan(&HEADS, all, Direction::Forward, 100).await;
    heads.unwrap().into_iter().map(|(id, _)| id).collect()
}

/// Both rooms change in one batch: the events of the upgrade follow each other in the log.
#[tokio::test]
async fn an_upgrade_is_one_commit() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let alias = room_alias_id!("#old:home");
    let by = user("alice");
    house.rooms.set_alias(alias, &room, &by).await.unwrap();
    let before = house.view().await.position();
    let version = RoomVersion::default();
    let upgrade = house
        .rooms
        .upgrade(&room, &by, Profile::default(), version, vec![]);
    let new = upgrade.await.unwrap();
    let view = house.view().await;
    let mut positions = Vec::new();
    for id in [&room, &new] {
        let (from, to) = (before, view.position());
        let page = house
            .rooms
            .timeline(&view, id, from, to, Direction::Forward, 100);
        positions.extend(page.await.unwrap().iter().map(|event| event.position.0));
    }
    positions.sort_unstable();
    let expected: Vec<_> = (before.next().0..=view.position().0).collect();
    assert_eq!(
        positions, expected,
        "nothing else happened, and nothing is missing"
    );
    let target = house.rooms.resolve_alias(&view, alias).await.unwrap();
    assert_eq!(target.unwrap().0, new);
}

/// Whatever happens in the old room at the same time, each new room is one that the old one points to or pointed to.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_conflicts_leaves_no_room_behind() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let by = user("alice");
    let version = RoomVersion::default();
    let upgrade = |rooms: &crate::Rooms| {
        let (rooms, room, by) = (rooms.clone(), room.clone(), by.clone());
        async move {
            rooms
                .upgrade(&room, &by, Profile::default(), version, vec![])
                .await
        }
    };
    let talk = async {
        for step in 0..10 {
            house.say(&room, "alice", &step.to_string()).await;
        }
    };
    let (first, second, ()) = tokio::join!(upgrade(&house.rooms), upgrade(&house.other), talk);
    let mut made: Vec<_> = [first, second].into_iter().flatten().collect();
    assert!(!made.is_empty());
    let tombstone = house.content(&room, "m.room.tombstone").await;
    assert!(
        made.iter()
            .any(|new| tombstone["replacement_room"] == new.as_str())
    );
    made.push(room);
    let mut made: Vec<_> = made.iter().map(ToString::to_string).collect();
    made.sort_unstable();
    assert_eq!(all_rooms(&house).await, made);
}

/// What the new room would not allow is refused before anything is there.
#[tokio::test]
async fn an_upgrade_that_is_refused_leaves_nothing() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let version = RoomVersion::default();
    let bob = user("bob");
    let upgrade = house
        .rooms
        .upgrade(&room, &bob, Profile::default(), version, vec![]);
    assert!(is_forbidden(&upgrade.await));
    assert_eq!(all_rooms(&house).await, [room.as_str()]);
}
