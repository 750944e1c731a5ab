//! New rooms: presets, overrides, every version, upgrades.

use hearth_protocol::{Level, RoomVersion};
use ruma::room_alias_id;
use serde_json::{json, value::to_raw_value};

use super::{House, user};
use crate::{Error, InitialState, Membership, NewRoom, Preset, Profile, Refusal};

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
        (Preset::PrivateChat, "invite", "can_join"),
        (Preset::TrustedPrivateChat, "invite", "can_join"),
        (Preset::PublicChat, "public", "forbidden"),
    ] {
        let room = house.room(preset).await;
        assert_eq!(
            house.content(&room, "m.room.join_rules").await["join_rule"],
            join_rule
        );
        assert_eq!(
            house.content(&room, "m.room.guest_access").await["guest_access"],
            guests
        );
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
