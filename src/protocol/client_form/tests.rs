#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::{
    RoomVersion,
    scenario::{Sketch, draw},
};

fn sketch(event: Value, version: RoomVersion) -> Pdu {
    draw(&serde_json::from_value::<Sketch>(event).unwrap(), version)
}

#[test]
fn a_message_has_the_fields_that_clients_know_and_no_others() {
    let message = json!({"id": "m", "type": "m.room.message", "sender": "@bob:b", "content": {"body": "ä\n\u{1}"},
        "ts": 12, "depth": 3, "auth": ["create"], "prev": ["create"]});
    let pdu = sketch(message, RoomVersion::default());
    assert_eq!(
        client_json(&pdu, true, None).get(),
        r#"{"content":{"body":"ä\n\u0001"},"event_id":"$m","origin_server_ts":12,"room_id":"!create","sender":"@bob:b","type":"m.room.message"}"#
    );
    assert!(!client_json(&pdu, false, None).get().contains("room_id"));
}

#[test]
fn the_content_is_passed_through_untouched() {
    // Not canonical on purpose: a parser and printer would show.
    let json = r#"{"type":"t","sender":"@a:a","room_id":"!r:a","depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"content":{ "z":1, "a": 1.50 }}"#;
    let pdu = Pdu::from_stored(
        "$x".try_into().unwrap(),
        json.as_bytes(),
        RoomVersion::default(),
    )
    .unwrap();
    assert!(
        client_json(&pdu, false, None)
            .get()
            .starts_with(r#"{"content":{ "z":1, "a": 1.50 },"event_id""#)
    );
}

#[test]
fn state_events_carry_their_key_and_what_is_known_about_them() {
    let pdu = sketch(
        json!({"id": "n", "type": "m.room.name", "key": "", "sender": "@bob:b", "content": {"name": "x"}}),
        RoomVersion::default(),
    );
    let before = RawValue::from_string(r#"{"name":"old"}"#.to_owned()).unwrap();
    let unsigned = Unsigned {
        age: Some(5),
        membership: Some("join"),
        prev_content: Some(&before),
        transaction_id: Some("t1"),
        ..Unsigned::default()
    };
    let shown: Value =
        serde_json::from_str(client_json(&pdu, false, Some(unsigned)).get()).unwrap();
    assert_eq!(shown["state_key"], "");
    assert_eq!(
        shown["unsigned"],
        json!({"age": 5, "membership": "join", "prev_content": {"name": "old"}, "transaction_id": "t1"})
    );
    assert_eq!(
        strip(&pdu).get(),
        r#"{"content":{"name":"x"},"sender":"@bob:b","state_key":"","type":"m.room.name"}"#
    );
}

#[test]
fn redactions_name_their_target_in_both_places_in_every_version() {
    for version in RoomVersion::ALL {
        for content in [json!({}), json!({"reason": "x"})] {
            let pdu = sketch(
                json!({"id": "r", "type": "m.room.redaction", "sender": "@bob:b", "content": content,
                    "redacts": "$m:a"}),
                version,
            );
            assert_eq!(pdu.redacts().unwrap().as_str(), "$m:a");
            let shown: Value = serde_json::from_str(client_json(&pdu, false, None).get()).unwrap();
            assert_eq!(shown["redacts"], "$m:a", "version {version}");
            assert_eq!(shown["content"]["redacts"], "$m:a", "version {version}");
            assert_eq!(shown["content"]["reason"], content["reason"]);
        }
    }
}

#[test]
fn a_redaction_that_lies_about_its_target_is_taken_at_the_place_that_counts() {
    let json = r#"{"type":"m.room.redaction","sender":"@a:a","room_id":"!r:a","depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"content":{"redacts":"$content"},"redacts":"$top"}"#;
    let read = |version: RoomVersion| {
        Pdu::from_stored("$x".try_into().unwrap(), json.as_bytes(), version).unwrap()
    };
    assert_eq!(
        read(RoomVersion::ALL[9]).redacts().unwrap().as_str(),
        "$top"
    );
    assert_eq!(
        read(RoomVersion::ALL[10]).redacts().unwrap().as_str(),
        "$content"
    );
    let nonsense = json.replace("\"$content\"", "[1]");
    let pdu = Pdu::from_stored(
        "$x".try_into().unwrap(),
        nonsense.as_bytes(),
        RoomVersion::ALL[10],
    )
    .unwrap();
    assert_eq!(pdu.redacts(), None);
}
