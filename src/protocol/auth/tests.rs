#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use ruma::user_id;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::scenario::{self, Sketch, base_room, draw, versions};

/// An event against a state, and the room versions whose rules allow it. The state is that of `base_room` with some
/// entries replaced or added; an entry without content is taken out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    state: Vec<Sketch>,
    event: Sketch,
    allowed: String,
}

#[test]
fn each_version_allows_what_its_page_says() {
    let cases: Vec<Case> = scenario::read(include_str!("../fixtures/auth.json"));
    for case in cases {
        let allowed = versions(&case.allowed);
        for version in RoomVersion::ALL {
            let mut room = base_room(version);
            for sketch in &case.state {
                let key = (sketch.event_type.clone(), sketch.key.clone().unwrap());
                if sketch.content.is_null() {
                    room.remove(&key);
                } else {
                    room.insert(key, sketch.clone());
                }
            }
            let event = draw(&case.event, version);
            let state = |event_type: &str, state_key: &str| {
                room.get(&(event_type.to_owned(), state_key.to_owned()))
                    .map(|sketch| draw(sketch, version))
            };
            let verdict = check_state(version, &event, state);
            assert_eq!(
                verdict.is_ok(),
                allowed.contains(&version),
                "{} in version {version}: {verdict:?}",
                case.name
            );
        }
    }
}

/// Checks the list of auth events of one event against the events of `base_room` and some more.
fn auth_events_verdict(version: RoomVersion, event: &Value, more: &[Value]) -> Result<(), Denied> {
    let sketch = |event: &Value| serde_json::from_value::<Sketch>(event.clone()).unwrap();
    let known: HashMap<_, _> = base_room(version)
        .into_values()
        .chain(more.iter().map(sketch))
        .map(|sketch| draw(&sketch, version))
        .map(|event| (event.event_id().to_owned(), event))
        .collect();
    check_auth_events(version, &draw(&sketch(event), version), |id| {
        known.get(id).cloned()
    })
}

#[test]
fn auth_events_are_those_that_the_rules_select() {
    let message = |auth: &[&str]| json!({"id": "m", "type": "m.room.message", "sender": "@alice:a", "content": {}, "auth": auth});
    let second_levels = json!({"id": "levels2", "type": "m.room.power_levels", "key": "", "sender": "@alice:a", "content": {}});
    let rejected = json!({"id": "levels3", "type": "m.room.power_levels", "key": "", "sender": "@alice:a",
        "content": {}, "rejected": true});
    let more = [second_levels, rejected];
    for version in RoomVersion::ALL {
        let verdict = |auth: &[&str]| auth_events_verdict(version, &message(auth), &more).is_ok();
        assert!(verdict(&["create", "alice", "levels"]), "version {version}");
        assert!(
            verdict(&["create", "levels"]),
            "fewer are no fault of the list in version {version}"
        );
        assert!(
            !verdict(&["create", "alice", "levels", "rule"]),
            "one too many"
        );
        assert!(
            !verdict(&["create", "alice", "levels", "levels2"]),
            "two for one entry"
        );
        assert!(!verdict(&["create", "alice", "levels3"]), "a rejected one");
        assert!(!verdict(&["create", "alice", "nowhere"]), "an unknown one");
        // Where the room id names the create event, it is not listed.
        assert_eq!(verdict(&["alice", "levels"]), version.has_hashed_room_ids());
    }
}

#[test]
fn create_events_follow_the_rules_of_their_version() {
    let create = |content: Value, prev: Value| json!({"id": "new", "type": "m.room.create", "key": "", "sender": "@alice:a", "content": content, "prev": prev});
    for version in RoomVersion::ALL {
        let verdict = |event: &Value| auth_events_verdict(version, event, &[]);
        verdict(&create(json!({}), json!([]))).unwrap();
        verdict(&create(json!({}), json!(["alice"]))).unwrap_err();
        let is_latest = version.has_hashed_room_ids();
        assert_eq!(
            verdict(&create(json!({"additional_creators": ["bob"]}), json!([]))).is_ok(),
            !is_latest
        );
        verdict(&create(
            json!({"additional_creators": ["@bob:b"]}),
            json!([]),
        ))
        .unwrap();
        // The room id belongs to the server of the sender, where it has a server.
        let foreign = json!({"id": "new", "type": "m.room.create", "key": "", "sender": "@eve:e", "content": {}});
        assert_eq!(verdict(&foreign).is_ok(), is_latest, "version {version}");
    }
    let named = r#"{"type":"m.room.create","state_key":"","sender":"@alice:a","content":{},"room_id":"!x","prev_events":[],"auth_events":[],"depth":1,"origin_server_ts":1}"#;
    let named = Pdu::from_stored(
        "$x".try_into().unwrap(),
        named.as_bytes(),
        RoomVersion::default(),
    )
    .unwrap();
    check_auth_events(RoomVersion::default(), &named, |_| None).unwrap_err();
}

#[test]
fn a_member_event_answers_to_more_of_the_state() {
    let select = |content: Value, state_key: &str, version: RoomVersion| {
        let content = RawValue::from_string(content.to_string()).unwrap();
        let mut types = auth_types(
            "m.room.member",
            user_id!("@alice:a"),
            Some(state_key),
            &content,
            version,
        )
        .unwrap();
        types.sort();
        types
            .into_iter()
            .map(|(event_type, key)| format!("{}|{key}", &event_type["m.room.".len()..]))
            .collect::<Vec<_>>()
    };
    let v11 = RoomVersion::ALL[10];
    assert_eq!(
        select(json!({"membership": "join"}), "@alice:a", v11),
        ["create|", "join_rules|", "member|@alice:a", "power_levels|"]
    );
    assert_eq!(
        select(
            json!({"membership": "invite"}),
            "@bob:b",
            RoomVersion::default()
        ),
        [
            "join_rules|",
            "member|@alice:a",
            "member|@bob:b",
            "power_levels|"
        ]
    );
    assert_eq!(
        select(json!({"membership": "ban"}), "@bob:b", v11),
        [
            "create|",
            "member|@alice:a",
            "member|@bob:b",
            "power_levels|"
        ]
    );
    let restricted = json!({"membership": "join", "join_authorised_via_users_server": "@bob:b"});
    assert!(select(restricted.clone(), "@alice:a", v11).contains(&"member|@bob:b".to_owned()));
    assert!(
        !select(restricted, "@alice:a", RoomVersion::ALL[6]).contains(&"member|@bob:b".to_owned())
    );
    let third_party =
        json!({"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}});
    assert!(select(third_party, "@bob:b", v11).contains(&"third_party_invite|t".to_owned()));
    let nothing = RawValue::from_string("{}".to_owned()).unwrap();
    auth_types(
        "m.room.member",
        user_id!("@alice:a"),
        Some("@alice:a"),
        &nothing,
        v11,
    )
    .unwrap_err();
    assert_eq!(
        auth_types(
            "m.room.create",
            user_id!("@alice:a"),
            Some(""),
            &nothing,
            v11
        )
        .unwrap(),
        []
    );
}
