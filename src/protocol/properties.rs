//! Owns the properties that hold for all events, tried on random ones. Tests only.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, user_id};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Depth, Draft, Pdu, PublicKeys, RoomVersion, check_content, check_state, client_json,
    parse_object, redact, scenario::test_key, seal, to_text, verify_content_hash, verify_event,
    verify_signatures,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn keys() -> PublicKeys {
    BTreeMap::from([(
        "domain".to_owned(),
        BTreeMap::from([("ed25519:1".to_owned(), test_key().verify_key())]),
    )])
}

fn any_version() -> impl Strategy<Value = RoomVersion> {
    (0..RoomVersion::ALL.len()).prop_map(|index| RoomVersion::ALL[index])
}

/// Any value that canonical JSON can express.
fn any_json() -> impl Strategy<Value = Value> {
    let limit = (1_i64 << 53) - 1;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-limit..=limit).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Keys that the rules know, and others.
fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "membership",
        "users",
        "creator",
        "redacts",
        "body",
        "join_rule",
        "ban",
        "third_party_invite",
        "signed",
    ];
    prop_oneof![
        (0..known.len()).prop_map(move |index| known[index].to_owned()),
        any::<String>()
    ]
}

fn any_content() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(any_key(), any_json(), 0..6)
        .prop_map(|map| map.into_iter().collect())
}

fn any_type() -> impl Strategy<Value = String> {
    let types = [
        "member",
        "create",
        "join_rules",
        "power_levels",
        "aliases",
        "history_visibility",
        "redaction",
        "message",
    ];
    (0..types.len()).prop_map(move |index| format!("m.room.{}", types[index]))
}

prop_compose! {
    fn any_sealed()(
        version in any_version(),
        event_type in any_type(),
        state_key in prop::option::of("[ -~]{0,20}"),
        content in any_content(),
        at in 0_u32..,
        depth in 1_u64..1000,
        prev in prop::collection::vec("[a-z]{1,9}", 0..4),
        auth in prop::collection::vec("[a-z]{1,9}", 0..4),
    ) -> (RoomVersion, Pdu) {
        let ids = |names: Vec<String>| -> Vec<OwnedEventId> {
            names.into_iter().map(|name| EventId::parse(format!("${name}:domain")).unwrap()).collect()
        };
        let mut content = content;
        if event_type == "m.room.member" {
            // Who has to sign a member event is only defined if it is one.
            content["membership"] = json!("join");
        }
        let content = RawValue::from_string(content.to_string()).unwrap();
        let draft = Draft {
            room_id: Some(RoomId::parse("!r:domain").unwrap()),
            state_key,
            prev_events: ids(prev),
            auth_events: ids(auth),
            depth: Depth(depth),
            local_id: "local".to_owned(),
            ..Draft::new(
                user_id!("@a:domain").to_owned(), event_type, content, MilliSecondsSinceUnixEpoch(UInt::from(at)),
            )
        };
        (version, seal(draft, version, &test_key()).unwrap())
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_sealed_event_is_read_back_the_same((version, pdu) in any_sealed()) {
        let parsed = Pdu::parse(pdu.json().as_bytes(), version).unwrap();
        prop_assert_eq!(&parsed, &pdu);
        let stored = Pdu::from_stored(pdu.event_id().to_owned(), pdu.json().as_bytes(), version).unwrap();
        prop_assert_eq!(&stored, &pdu);
        prop_assert_eq!(stored.room_id(), pdu.room_id());
        prop_assert_eq!(verify_event(&pdu, version, &keys()).unwrap(), pdu.clone());
        // The client form is JSON and shows the same content, `redacts` aside.
        let shown: Value = serde_json::from_str(client_json(&pdu, true, None).get()).unwrap();
        if pdu.redacts().is_none() {
            prop_assert_eq!(&shown["content"], &serde_json::from_str::<Value>(pdu.content().get()).unwrap());
        }
        prop_assert_eq!(shown["event_id"].as_str().unwrap(), pdu.event_id().as_str());
    }

    #[test]
    fn redaction_keeps_the_id_and_the_signature_and_happens_once((version, pdu) in any_sealed()) {
        let redacted = redact(&pdu, version, None).unwrap();
        prop_assert_eq!(redacted.event_id(), pdu.event_id());
        prop_assert_eq!(&redact(&redacted, version, None).unwrap(), &redacted);
        let again = Pdu::parse(redacted.json().as_bytes(), version).unwrap();
        prop_assert_eq!(again.event_id(), pdu.event_id());
        prop_assert!(verify_signatures(&redacted, version, &keys()).is_ok());
        prop_assert!(redacted.json().len() <= pdu.json().len());
    }

    #[test]
    fn any_change_breaks_the_signature_or_the_hash(
        (version, pdu) in any_sealed(), field in 0_usize..8, change in any_json(),
    ) {
        let fields = ["content", "type", "sender", "origin_server_ts", "depth", "hashes", "room_id", "extra"];
        let mut changed: Value = serde_json::from_str(pdu.json()).unwrap();
        let before = changed.clone();
        match fields[field] {
            "type" => changed["type"] = json!("m.other"),
            "sender" => changed["sender"] = json!("@b:domain"),
            "hashes" => changed["hashes"]["sha256"] = json!("AAAA"),
            "room_id" => changed["room_id"] = json!("!other:domain"),
            "depth" => changed["depth"] = json!(pdu.depth().0 + 1),
            "origin_server_ts" => changed["origin_server_ts"] = json!(u64::from(pdu.origin_server_ts().get()) + 1),
            "content" => changed["content"]["new"] = change,
            other => changed[other] = change,
        }
        prop_assume!(changed != before);
        let Ok(changed) = Pdu::parse(changed.to_string().as_bytes(), version) else {
            // A create event of newer versions names no room; with another type it is no event at all.
            prop_assert_eq!(fields[field], "type");
            return Ok(());
        };
        match verify_event(&changed, version, &keys()) {
            // Only what redaction removes may differ, and then it was removed.
            Ok(kept) => {
                prop_assert!(!verify_content_hash(&changed).unwrap());
                prop_assert_eq!(kept.json(), redact(&pdu, version, None).unwrap().json().to_owned());
            }
            Err(_) => prop_assert_ne!(fields[field], "extra"),
        }
    }

    #[test]
    fn canonical_json_is_a_fixed_point_and_ignores_order_and_space(content in any_content()) {
        let text = to_text(&parse_object(content.to_string().as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(&to_text(&parse_object(text.as_bytes()).unwrap()).unwrap(), &text);
        let pretty = serde_json::to_string_pretty(&content).unwrap();
        prop_assert_eq!(&to_text(&parse_object(pretty.as_bytes()).unwrap()).unwrap(), &text);
        let members: Vec<_> = content.as_object().unwrap().iter().rev()
            .map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        let reversed = format!("{{{}}}", members.join(" , "));
        prop_assert_eq!(&to_text(&parse_object(reversed.as_bytes()).unwrap()).unwrap(), &text);
        let keys: Vec<_> = parse_object(text.as_bytes()).unwrap().into_keys().collect();
        prop_assert!(keys.is_sorted());
    }
}

proptest! {
    #![proptest_config(config(2048))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in any_version()) {
        let _ = Pdu::parse(&bytes, version);
        let _ = Pdu::from_stored(OwnedEventId::try_from("$x").unwrap(), &bytes, version);
        if let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(&bytes) {
            let _ = check_content(&raw);
        }
    }

    /// Objects with the right field names and anything in them get much further than random bytes.
    #[test]
    fn random_fields_never_panic(
        fields in prop::collection::btree_map(0_usize..14, any_json(), 0..14), version in any_version(),
    ) {
        let names = ["type", "sender", "room_id", "event_id", "state_key", "content", "depth", "origin_server_ts",
            "prev_events", "auth_events", "hashes", "signatures", "unsigned", "redacts"];
        let mut event = json!({"type": "m.room.redaction", "sender": "@a:domain", "room_id": "!r:domain",
            "event_id": "$e:domain", "content": {}, "depth": 1, "origin_server_ts": 1, "prev_events": [],
            "auth_events": [], "hashes": {"sha256": "x"}, "signatures": {"domain": {"ed25519:1": "x"}}});
        for (name, value) in fields {
            event[names[name]] = value;
        }
        if let Ok(pdu) = Pdu::parse(event.to_string().as_bytes(), version) {
            let _ = verify_event(&pdu, version, &keys());
            let _ = redact(&pdu, version, Some(&pdu));
            let _ = check_state(version, &pdu, |_, _| Some(pdu.clone()));
            let _ = client_json(&pdu, true, None);
        }
    }
}
