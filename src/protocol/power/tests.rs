#![allow(clippy::unwrap_used, clippy::panic)]

use ruma::user_id;
use serde_json::{Value, json};

use super::*;
use crate::scenario::{Sketch, draw, versions};

fn sketch(event_type: &str, content: Value, version: RoomVersion) -> Pdu {
    let event = json!({"id": "create", "type": event_type, "key": "", "sender": "@alice:a", "content": content});
    draw(&serde_json::from_value::<Sketch>(event).unwrap(), version)
}

#[test]
fn without_levels_the_maker_of_the_room_rules_it() {
    for version in RoomVersion::ALL {
        let create = sketch("m.room.create", json!({}), version);
        let levels = PowerLevels::of(version, &create, None).unwrap();
        let expected = if version.has_hashed_room_ids() {
            Level::Infinite
        } else {
            Level::Finite(100)
        };
        assert_eq!(levels.user(user_id!("@alice:a")), expected);
        assert_eq!(levels.user(user_id!("@bob:b")), Level::Finite(0));
        assert_eq!(levels.message("m.room.message"), Level::Finite(0));
        assert_eq!(levels.state("m.room.name"), Level::Finite(50));
        assert_eq!(
            (levels.ban(), levels.kick(), levels.redact()),
            (Level::Finite(50), Level::Finite(50), Level::Finite(50))
        );
        assert_eq!(
            (levels.invite(), levels.notify_room()),
            (Level::Finite(0), Level::Finite(50))
        );
    }
}

#[test]
fn levels_are_read_as_written() {
    let content = json!({
        "users": {"@bob:b": 40}, "users_default": 1, "events": {"m.room.name": 30, "m.reaction": 2},
        "events_default": 3, "state_default": 60, "ban": 61, "kick": 62, "redact": 63, "invite": 64,
        "notifications": {"room": 65},
    });
    for version in RoomVersion::ALL {
        let create = sketch(
            "m.room.create",
            json!({"additional_creators": ["@carol:c"]}),
            version,
        );
        let event = sketch("m.room.power_levels", content.clone(), version);
        let levels = PowerLevels::of(version, &create, Some(&event)).unwrap();
        assert_eq!(levels.user(user_id!("@bob:b")), Level::Finite(40));
        assert_eq!(levels.user(user_id!("@eve:e")), Level::Finite(1));
        let creator = if version.has_hashed_room_ids() {
            Level::Infinite
        } else {
            Level::Finite(1)
        };
        assert_eq!(levels.user(user_id!("@alice:a")), creator);
        assert_eq!(levels.user(user_id!("@carol:c")), creator);
        assert_eq!(levels.state("m.room.name"), Level::Finite(30));
        assert_eq!(levels.state("m.room.topic"), Level::Finite(60));
        assert_eq!(levels.message("m.reaction"), Level::Finite(2));
        assert_eq!(levels.message("m.room.message"), Level::Finite(3));
        assert_eq!(levels.notify_room(), Level::Finite(65));
        assert_eq!(
            levels.listed_users().count(),
            if version.has_hashed_room_ids() { 3 } else { 1 }
        );
        assert!(Level::Infinite > Level::Finite(i64::MAX));
    }
}

#[test]
fn levels_in_strings_count_in_the_versions_that_had_them() {
    for version in RoomVersion::ALL {
        let create = sketch("m.room.create", json!({}), version);
        let event = sketch(
            "m.room.power_levels",
            json!({"users": {"@bob:b": " +050 "}, "ban": "-7"}),
            version,
        );
        let levels = PowerLevels::of(version, &create, Some(&event));
        if versions("1-9").contains(&version) {
            let levels = levels.unwrap();
            assert_eq!(levels.user(user_id!("@bob:b")), Level::Finite(50));
            assert_eq!(levels.ban(), Level::Finite(-7));
        } else {
            levels.unwrap_err();
        }
    }
}
