#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use ruma::{CanonicalJsonValue, server_name};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{canonical, scenario};

#[derive(Deserialize)]
struct Vectors {
    objects: Vec<Vector>,
    events: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    input: Value,
    signed: Value,
}

/// The events of one room in one version, hashed and signed by a program that shares no code with this one.
#[derive(Deserialize)]
struct Room {
    version: String,
    room_id: String,
    events: Vec<Sealed>,
}

#[derive(Deserialize)]
struct Sealed {
    event_id: String,
    json: String,
}

fn object(value: &Value) -> CanonicalJsonObject {
    canonical::parse_object(value.to_string().as_bytes()).unwrap()
}

fn keys() -> PublicKeys {
    BTreeMap::from([(
        "domain".to_owned(),
        BTreeMap::from([("ed25519:1".to_owned(), scenario::test_key().verify_key())]),
    )])
}

fn rooms() -> Vec<Room> {
    scenario::read(include_str!("../fixtures/events.json"))
}

#[test]
fn the_signatures_of_the_appendices_come_out_as_written() {
    let vectors: Vectors = scenario::read(include_str!("../fixtures/signing.json"));
    let key = scenario::test_key();
    for Vector { input, signed } in vectors.objects {
        let mut made = object(&input);
        sign_json(&mut made, &key).unwrap();
        assert_eq!(made, object(&signed));
        verify_json(&made, server_name!("domain"), &keys()).unwrap();
        verify_json(&made, server_name!("elsewhere"), &keys()).unwrap_err();
    }
    for Vector { input, signed } in vectors.events {
        let mut made = object(&input);
        sign_event(&mut made, RoomVersion::ALL[0], &key).unwrap();
        assert_eq!(made, object(&signed));
    }
}

#[test]
fn ids_hashes_and_signatures_agree_with_an_independent_program() {
    for room in rooms() {
        let version = RoomVersion::parse(&room.version).unwrap();
        for event in room.events {
            let pdu = Pdu::parse(event.json.as_bytes(), version).unwrap();
            assert_eq!(pdu.event_id().as_str(), event.event_id, "version {version}");
            assert_eq!(pdu.room_id().as_str(), room.room_id, "version {version}");
            assert_eq!(pdu.json(), event.json);
            assert!(verify_content_hash(&pdu).unwrap());
            assert_eq!(verify_event(&pdu, version, &keys()).unwrap(), pdu);
            verify_signatures(&pdu, version, &keys()).unwrap();
            let servers: Vec<_> = required_signatures(&pdu, version)
                .unwrap()
                .into_iter()
                .collect();
            assert_eq!(servers, [server_name!("domain")]);
            if !version.has_explicit_event_ids() {
                assert_eq!(
                    format!("${}", reference_hash(&pdu, version).unwrap()),
                    pdu.event_id().as_str()
                );
            }
        }
    }
}

#[test]
fn a_changed_content_is_stored_redacted_and_a_changed_envelope_dropped() {
    for room in rooms() {
        let version = RoomVersion::parse(&room.version).unwrap();
        let message = room
            .events
            .iter()
            .find(|event| event.json.contains("m.room.message"))
            .unwrap();
        let mut content_changed: Value = serde_json::from_str(&message.json).unwrap();
        content_changed["content"]["body"] = json!("something else");
        let pdu = Pdu::parse(content_changed.to_string().as_bytes(), version).unwrap();
        assert!(!verify_content_hash(&pdu).unwrap());
        let kept = verify_event(&pdu, version, &keys()).unwrap();
        assert_eq!(kept.content().get(), "{}");
        assert_eq!(kept.event_id(), pdu.event_id());

        let mut sender_changed: Value = serde_json::from_str(&message.json).unwrap();
        sender_changed["sender"] = json!("@b:domain");
        let pdu = Pdu::parse(sender_changed.to_string().as_bytes(), version).unwrap();
        verify_event(&pdu, version, &keys()).unwrap_err();
    }
}

#[test]
fn a_signature_needs_a_known_key_of_the_senders_server() {
    let room = rooms().pop().unwrap();
    let version = RoomVersion::parse(&room.version).unwrap();
    let pdu = Pdu::parse(room.events[3].json.as_bytes(), version).unwrap();
    verify_event(&pdu, version, &PublicKeys::new()).unwrap_err();
    let other = SigningKey::generate(server_name!("domain"), "ed25519:1", [1; 32]).unwrap();
    let wrong = BTreeMap::from([(
        "domain".to_owned(),
        BTreeMap::from([("ed25519:1".to_owned(), other.verify_key())]),
    )]);
    verify_event(&pdu, version, &wrong).unwrap_err();
    let renamed = BTreeMap::from([(
        "domain".to_owned(),
        BTreeMap::from([("ed25519:2".to_owned(), other.verify_key())]),
    )]);
    verify_event(&pdu, version, &renamed).unwrap_err();
}

#[test]
fn a_second_server_can_sign_without_changing_the_event() {
    let room = rooms().pop().unwrap();
    let version = RoomVersion::parse(&room.version).unwrap();
    let pdu = Pdu::parse(room.events[1].json.as_bytes(), version).unwrap();
    let second = SigningKey::generate(server_name!("second"), "ed25519:x", [2; 32]).unwrap();
    let signed = countersign(&pdu, version, &second).unwrap();
    assert_eq!(signed.event_id(), pdu.event_id());
    verify_event(&signed, version, &keys()).unwrap();
    let signatures = &signed.object().unwrap()["signatures"];
    let CanonicalJsonValue::Object(signatures) = signatures else {
        panic!("no signatures")
    };
    assert_eq!(signatures.keys().collect::<Vec<_>>(), ["domain", "second"]);
}

#[test]
fn restricted_joins_need_the_signature_of_the_server_that_let_them_in() {
    let event = json!({
        "type": "m.room.member", "state_key": "@a:domain", "sender": "@a:domain", "room_id": "!r:domain",
        "event_id": "$e:domain", "depth": 1, "origin_server_ts": 1, "prev_events": [], "auth_events": [],
        "content": {"membership": "join", "join_authorised_via_users_server": "@b:second"},
    });
    for version in RoomVersion::ALL {
        let pdu = Pdu::parse(event.to_string().as_bytes(), version).unwrap();
        let expected = if version < RoomVersion::ALL[7] { 1 } else { 2 };
        assert_eq!(
            required_signatures(&pdu, version).unwrap().len(),
            expected,
            "version {version}"
        );
    }
}

#[test]
fn a_third_party_invite_that_is_no_object_is_signed_as_other_servers_sign_it() {
    let key = scenario::test_key();
    for version in RoomVersion::ALL {
        let event = |invite: &str| {
            let content = format!(r#"{{"membership":"leave"{invite}}}"#);
            let content = serde_json::value::RawValue::from_string(content).unwrap();
            let mut draft = crate::Draft::new(
                ruma::user_id!("@a:domain").to_owned(),
                "m.room.member",
                content,
                ruma::MilliSecondsSinceUnixEpoch(ruma::uint!(1)),
            );
            draft.room_id = Some(ruma::room_id!("!r:domain").to_owned());
            draft.state_key = Some("@a:domain".to_owned());
            draft.local_id = "x".to_owned();
            crate::seal(draft, version, &key).unwrap()
        };
        let stray = event(r#","third_party_invite":null"#);
        let verified = verify_event(&stray, version, &keys()).unwrap();
        assert_eq!(verified, stray, "version {version}");
        let left = crate::redact(&stray, version, None).unwrap();
        assert!(!left.json().contains("third_party_invite"), "{version}");
        assert_eq!(left.event_id(), stray.event_id());
        verify_signatures(&left, version, &keys()).unwrap();
        // What is left says all that is signed, so that its id is that of what it says.
        let again = Pdu::parse(left.json().as_bytes(), version).unwrap();
        assert_eq!(again.event_id(), stray.event_id());
        let altered = stray.json().replace(":null", ":1");
        let altered = Pdu::parse(altered.as_bytes(), version).unwrap();
        let kept = verify_event(&altered, version, &keys()).unwrap();
        assert_eq!(kept.json(), left.json());
    }
}
