#![allow(clippy::unwrap_used, clippy::panic)]

use ruma::{RoomId, event_id, user_id};
use serde_json::Value;

use super::*;
use crate::{errors::Fault, scenario};

fn draft(event_type: &str, content: &str) -> Draft {
    let content = RawValue::from_string(content.to_owned()).unwrap();
    let at = MilliSecondsSinceUnixEpoch(ruma::uint!(1_000_000));
    let room_id = Some(RoomId::parse("!r:domain").unwrap());
    let local_id = "1".to_owned();
    Draft {
        room_id,
        local_id,
        ..Draft::new(user_id!("@a:domain").to_owned(), event_type, content, at)
    }
}

/// Seals the same room as the fixture, which another program made.
#[test]
fn sealed_events_are_those_of_an_independent_program() {
    let rooms: Vec<Value> = scenario::read(include_str!("../fixtures/events.json"));
    let key = scenario::test_key();
    for room in rooms {
        let version = RoomVersion::parse(room["version"].as_str().unwrap()).unwrap();
        let mut hashes = Vec::new();
        for event in room["events"].as_array().unwrap() {
            let expected = event["json"].as_str().unwrap();
            let pdu = Pdu::parse(expected.as_bytes(), version).unwrap();
            let mut content: Value = serde_json::from_str(pdu.content().get()).unwrap();
            // `seal` puts it back.
            content.as_object_mut().unwrap().remove("redacts");
            let is_create = pdu.event_type() == "m.room.create";
            let draft = Draft {
                room_id: (!is_create || !version.has_hashed_room_ids())
                    .then(|| pdu.room_id().to_owned()),
                state_key: pdu.state_key().map(str::to_owned),
                redacts: pdu.redacts().map(ToOwned::to_owned),
                prev_events: pdu.prev_events().to_vec(),
                auth_events: pdu.auth_events().to_vec(),
                depth: pdu.depth(),
                local_id: pdu.depth().0.to_string(),
                reference_hashes: hashes.clone(),
                ..Draft::new(
                    pdu.sender().to_owned(),
                    pdu.event_type(),
                    RawValue::from_string(content.to_string()).unwrap(),
                    pdu.origin_server_ts(),
                )
            };
            let sealed = seal(draft, version, &key).unwrap();
            assert_eq!(sealed.json(), expected, "version {version}");
            assert_eq!(sealed.event_id(), pdu.event_id());
            hashes.push((
                pdu.event_id().to_owned(),
                signature::reference_hash(&pdu, version).unwrap(),
            ));
        }
    }
}

#[test]
fn the_create_event_is_no_auth_event_where_the_room_id_names_it() {
    let mut draft = draft("m.room.message", "{}");
    draft.room_id = Some(RoomId::parse("!hash").unwrap());
    draft.auth_events = vec![
        event_id!("$hash").to_owned(),
        event_id!("$other").to_owned(),
    ];
    let sealed = seal(draft, RoomVersion::default(), &scenario::test_key()).unwrap();
    assert_eq!(sealed.auth_events(), [event_id!("$other")]);
}

#[test]
fn drafts_that_cannot_be_events_are_refused() {
    let key = scenario::test_key();
    let fault = |draft: Draft, version: RoomVersion| seal(draft, version, &key).unwrap_err().fault;
    let latest = RoomVersion::default();
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(66_000));
    assert_eq!(
        fault(draft("m.room.message", &large), latest),
        Fault::TooLarge
    );
    assert_eq!(
        fault(draft(&"x".repeat(256), "{}"), latest),
        Fault::TooLarge
    );
    let long_key = Draft {
        state_key: Some("x".repeat(256)),
        ..draft("t", "{}")
    };
    assert_eq!(fault(long_key, latest), Fault::TooLarge);
    assert_eq!(
        fault(draft("t", "{\"a\":1.5}"), latest),
        Fault::NotCanonical
    );
    assert_eq!(fault(draft("t", "[]"), latest), Fault::Format);
    assert_eq!(
        fault(
            Draft {
                room_id: None,
                ..draft("t", "{}")
            },
            latest
        ),
        Fault::Format
    );
    assert_eq!(
        fault(
            Draft {
                local_id: String::new(),
                ..draft("t", "{}")
            },
            RoomVersion::ALL[1]
        ),
        Fault::Format
    );
    let crowded = Draft {
        prev_events: vec![event_id!("$p").to_owned(); 21],
        ..draft("t", "{}")
    };
    assert_eq!(fault(crowded, latest), Fault::Format);
}
