#![allow(clippy::unwrap_used, clippy::panic)]

use ruma::CanonicalJsonValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::scenario::{self, Sketch, draw};

/// One event of a type, and what each room version's page lets stand of it.
#[derive(Deserialize)]
struct Case {
    name: String,
    event: Value,
    redacted: Vec<Remainder>,
}

#[derive(Deserialize)]
struct Remainder {
    versions: Vec<String>,
    top: Vec<String>,
    content: Value,
}

#[test]
fn each_version_keeps_what_its_page_lists() {
    let cases: Vec<Case> = scenario::read(include_str!("../fixtures/redaction.json"));
    for case in cases {
        for remainder in case.redacted {
            for version in remainder.versions {
                let version = RoomVersion::parse(&version).unwrap();
                let mut object =
                    canonical::parse_object(case.event.to_string().as_bytes()).unwrap();
                redact_object(&mut object, version, None).unwrap();
                let top: Vec<_> = object.keys().cloned().collect();
                assert_eq!(top, remainder.top, "{} in version {version}", case.name);
                let content: CanonicalJsonValue = remainder.content.clone().try_into().unwrap();
                assert_eq!(
                    object["content"], content,
                    "{} in version {version}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn the_redaction_is_kept_where_clients_look_and_stays_out_of_federation() {
    for version in RoomVersion::ALL {
        let sketch = |event: Value| -> Pdu {
            draw(&serde_json::from_value::<Sketch>(event).unwrap(), version)
        };
        let target = sketch(
            json!({"id": "m", "type": "m.room.message", "sender": "@bob:b", "content": {"body": "x"}}),
        );
        let redaction = sketch(
            json!({"id": "r", "type": "m.room.redaction", "sender": "@bob:b",
            "content": {"reason": "typo"}, "redacts": target.event_id()}),
        );
        let redacted = redact(&target, version, Some(&redaction)).unwrap();
        assert_eq!(redacted.event_id(), target.event_id());
        let shown: Value =
            serde_json::from_str(client_form::client_json(&redacted, true, None).get()).unwrap();
        let because = &shown["unsigned"]["redacted_because"];
        assert_eq!(because["event_id"], json!(redaction.event_id()));
        assert_eq!(
            because["redacts"],
            json!(target.event_id()),
            "version {version}"
        );
        assert_eq!(
            because["content"]["redacts"],
            json!(target.event_id()),
            "version {version}"
        );
        assert!(
            !client_form::federation_json(&redacted)
                .get()
                .contains("redacted_because")
        );
        // Again, without a redaction at hand: nothing more changes.
        assert_eq!(redact(&redacted, version, None).unwrap(), redacted);
        assert!(
            redact(&target.clone().marked_rejected(true), version, None)
                .unwrap()
                .is_rejected()
        );
    }
}

#[test]
fn a_redaction_takes_effect_with_power_or_from_the_same_server() {
    let version = RoomVersion::default();
    let sketch =
        |event: Value| -> Pdu { draw(&serde_json::from_value::<Sketch>(event).unwrap(), version) };
    let create = sketch(
        json!({"id": "create", "type": "m.room.create", "key": "", "sender": "@alice:a", "content": {}}),
    );
    let levels = sketch(
        json!({"id": "levels", "type": "m.room.power_levels", "key": "", "sender": "@alice:a",
        "content": {"users": {"@mod:m": 50}}}),
    );
    let levels = PowerLevels::of(version, &create, Some(&levels)).unwrap();
    let target = sketch(
        json!({"id": "m", "type": "m.room.message", "sender": "@bob:b", "content": {"body": "x"}}),
    );
    let by = |sender: &str, target: &Pdu| {
        sketch(
            json!({"id": "r", "type": "m.room.redaction", "sender": sender, "content": {},
            "redacts": target.event_id()}),
        )
    };
    for (sender, allowed) in [
        ("@alice:a", true),
        ("@mod:m", true),
        ("@carol:b", true),
        ("@eve:e", false),
    ] {
        assert_eq!(
            may_redact(&by(sender, &target), &target, &levels, version),
            allowed,
            "{sender}"
        );
    }
    assert!(!may_redact(
        &by("@alice:a", &target),
        &create,
        &levels,
        version
    ));
    assert!(!may_redact(
        &by("@alice:a", &create),
        &create,
        &levels,
        version
    ));
}
