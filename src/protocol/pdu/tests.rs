#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::{errors::Fault, scenario::versions};

fn event(version: RoomVersion) -> Value {
    let reference = if version.has_explicit_event_ids() {
        json!(["$p:a", {"sha256": "x"}])
    } else {
        json!("$p")
    };
    json!({
        "type": "m.room.message", "sender": "@a:a", "room_id": "!r:a", "event_id": "$e:a", "content": {"body": "x"},
        "origin_server_ts": 5, "depth": 7, "prev_events": [reference], "auth_events": [reference],
        "hashes": {"sha256": "x"}, "signatures": {}, "unsigned": {"age": 3},
    })
}

fn parse(event: &Value, version: RoomVersion) -> Result<Pdu, Malformed> {
    Pdu::parse(event.to_string().as_bytes(), version)
}

#[test]
fn fields_are_read_in_the_format_of_each_version() {
    for version in RoomVersion::ALL {
        let pdu = parse(&event(version), version).unwrap();
        let referred = if version.has_explicit_event_ids() {
            "$p:a"
        } else {
            "$p"
        };
        assert_eq!(pdu.prev_events()[0].as_str(), referred);
        assert_eq!(pdu.auth_events()[0].as_str(), referred);
        assert_eq!(
            (pdu.depth(), pdu.state_key(), pdu.is_state()),
            (Depth(7), None, false)
        );
        assert!(pdu.unsigned().is_none() && !pdu.json().contains("unsigned"));
        assert_eq!(
            pdu.event_id().as_str() == "$e:a",
            version.has_explicit_event_ids()
        );
        let stored =
            Pdu::from_stored(pdu.event_id().to_owned(), pdu.json().as_bytes(), version).unwrap();
        assert_eq!(stored, pdu);
        // The other format of references is not this version's.
        let other = if version.has_explicit_event_ids() {
            json!(["$p"])
        } else {
            json!([["$p:a", {}]])
        };
        let mut wrong = event(version);
        wrong["prev_events"] = other;
        assert_eq!(parse(&wrong, version).unwrap_err().fault, Fault::Format);
    }
}

#[test]
fn events_against_the_format_are_malformed() {
    let version = RoomVersion::default();
    let cases = [
        ("type", json!(null)),
        ("type", json!(1)),
        ("sender", json!("a")),
        ("sender", json!("@a")),
        ("room_id", json!(null)),
        ("room_id", json!("r:a")),
        ("state_key", json!(null)),
        ("state_key", json!({})),
        ("content", json!("x")),
        ("content", json!(null)),
        ("depth", json!("1")),
        ("depth", json!(-1)),
        ("origin_server_ts", json!(-1)),
        ("origin_server_ts", json!(null)),
        ("prev_events", json!({})),
        ("prev_events", json!(["p"])),
        ("prev_events", json!(vec!["$p"; 21])),
        ("auth_events", json!(vec!["$p"; 11])),
        ("auth_events", json!([1])),
    ];
    for (field, value) in cases {
        let mut wrong = event(version);
        wrong[field] = value.clone();
        assert_eq!(
            parse(&wrong, version).unwrap_err().fault,
            Fault::Format,
            "{field}: {value}"
        );
    }
    for field in [
        "type",
        "sender",
        "room_id",
        "content",
        "depth",
        "origin_server_ts",
        "prev_events",
        "auth_events",
    ] {
        let mut wrong = event(version);
        wrong.as_object_mut().unwrap().remove(field);
        assert_eq!(
            parse(&wrong, version).unwrap_err().fault,
            Fault::Format,
            "without {field}"
        );
    }
}

#[test]
fn fields_of_older_versions_are_measured_in_characters() {
    for version in RoomVersion::ALL {
        for field in ["type", "state_key"] {
            let mut event = event(version);
            event[field] = json!("é".repeat(MAX_FIELD_BYTES));
            let is_taken = parse(&event, version).is_ok();
            assert_eq!(is_taken, !version.measures_fields_in_bytes(), "{version}");
            event[field] = json!("é".repeat(MAX_FIELD_BYTES + 1));
            assert!(parse(&event, version).is_err(), "{version}");
        }
    }
}

#[test]
fn sizes_are_limited() {
    let version = RoomVersion::default();
    for field in ["type", "state_key"] {
        let mut event = event(version);
        event[field] = json!("x".repeat(MAX_FIELD_BYTES));
        assert!(parse(&event, version).is_ok(), "{field}");
        event[field] = json!("x".repeat(MAX_FIELD_BYTES + 1));
        assert_eq!(
            parse(&event, version).unwrap_err().fault,
            Fault::TooLarge,
            "{field}"
        );
        // Bytes, not characters.
        event[field] = json!("é".repeat(MAX_FIELD_BYTES / 2 + 1));
        assert_eq!(
            parse(&event, version).unwrap_err().fault,
            Fault::TooLarge,
            "{field}"
        );
    }
    let mut event = event(version);
    event.as_object_mut().unwrap().remove("unsigned");
    let spare = MAX_EVENT_BYTES - event.to_string().len() + 1;
    event["content"]["body"] = json!("x".repeat(spare));
    assert_eq!(
        parse(&event, version).unwrap().json().len(),
        MAX_EVENT_BYTES
    );
    event["content"]["body"] = json!("x".repeat(spare + 1));
    assert_eq!(parse(&event, version).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn only_the_create_event_of_the_latest_version_names_no_room() {
    for version in RoomVersion::ALL {
        let mut create = event(version);
        create["type"] = json!("m.room.create");
        create["state_key"] = json!("");
        create["prev_events"] = json!([]);
        create["auth_events"] = json!([]);
        create.as_object_mut().unwrap().remove("room_id");
        let parsed = parse(&create, version);
        if versions("12").contains(&version) {
            let create = parsed.unwrap();
            assert_eq!(
                create.room_id().as_str()[1..],
                create.event_id().as_str()[1..]
            );
            assert_eq!(Event::room_id(&create), None);
        } else {
            parsed.unwrap_err();
        }
    }
}

#[test]
fn depth_stops_at_what_canonical_json_carries() {
    assert_eq!(Depth(1).next(), Depth(2));
    assert_eq!(Depth::MAX.next(), Depth::MAX);
}
