//! Target: events as other servers write them, in all room versions. What is accepted has the id, the hashes, the limits and
//! the redaction that the specification gives it, and is the same event wherever it is read again.

use hearth_protocol::{
    Depth, MAX_EVENT_BYTES, MAX_FIELD_BYTES, Pdu, RoomVersion, check_state, client_json,
    federation_json, redact, required_signatures, strip, verify_content_hash,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Outcome,
    oracle::{self, Json, Object},
    source::Source,
};

/// The number of a version.
pub(crate) fn number(version: RoomVersion) -> u32 {
    version.as_str().parse().unwrap_or(0)
}

pub(crate) fn run(source: &Source) -> Outcome {
    let version = RoomVersion::ALL[source.pick(12)];
    let mut event = match source.pick(6) {
        0 => example(source),
        _ => made_up(source, version),
    };
    for _ in 0..[0, 0, 1, 1, 2, 4][source.pick(6)] {
        source.bend(&mut event);
    }
    if source.once_in(2) {
        hash(&mut event);
    }
    let mut bytes = event.to_string().into_bytes();
    if source.once_in(8) {
        source.spoil(&mut bytes);
    }
    source.tell(|| format!("version {version}: {}", String::from_utf8_lossy(&bytes)));
    let taken = judge(&bytes, version)?;
    // And as an event of a room of another version.
    let other = RoomVersion::ALL[source.pick(12)];
    Ok(judge(&bytes, other).map_err(|e| format!("as one of version {other}: {e}"))? || taken)
}

fn judge(bytes: &[u8], version: RoomVersion) -> Outcome {
    let Ok(pdu) = Pdu::parse(bytes, version) else {
        return Ok(false);
    };
    let (mut object, _) = oracle::read(bytes).ok_or("it is no canonical JSON, and accepted")?;
    object.remove("unsigned");
    is_as_written(&pdu, &object, version)?;
    keeps_the_limits(&pdu, &object, version)?;
    is_hashed(&pdu, &object, version)?;
    is_redacted(&pdu, &object, version)?;
    is_shown(&pdu)?;
    // Whatever they say: they have to come back.
    required_signatures(&pdu, version).ok();
    check_state(version, &pdu, |_, _| Some(pdu.clone())).ok();
    strip(&pdu);
    Ok(true)
}

fn must(holds: bool, what: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("this does not hold: {what}")),
    }
}

fn is_as_written(pdu: &Pdu, object: &Object, version: RoomVersion) -> Result<(), String> {
    let text = |name: &str| object.get(name).and_then(Json::text);
    must(
        pdu.json() == oracle::write(object),
        "it is kept as canonical JSON",
    )?;
    must(Some(pdu.event_type()) == text("type"), "the type")?;
    must(pdu.state_key() == text("state_key"), "the state key")?;
    must(Some(pdu.sender().as_str()) == text("sender"), "the sender")?;
    let is_named = text("room_id").is_none_or(|room_id| room_id == pdu.room_id().as_str());
    must(is_named, "the room")?;
    let again = Pdu::parse(pdu.json().as_bytes(), version).map_err(|e| format!("again: {e}"))?;
    must(again == *pdu, "it is the same when it is read again")?;
    let stored = Pdu::from_stored(pdu.event_id().to_owned(), pdu.json().as_bytes(), version);
    let stored = stored.map_err(|e| format!("from the store: {e}"))?;
    let same = stored == *pdu
        && stored.room_id() == pdu.room_id()
        && stored.prev_events() == pdu.prev_events()
        && stored.auth_events() == pdu.auth_events()
        && stored.redacts() == pdu.redacts();
    must(same, "it is the same from the store")?;
    must(
        federation_json(pdu).get() == pdu.json(),
        "it is sent as it is kept",
    )
}

fn keeps_the_limits(pdu: &Pdu, object: &Object, version: RoomVersion) -> Result<(), String> {
    must(pdu.json().len() <= MAX_EVENT_BYTES, "the size of an event")?;
    for field in ["type", "sender", "room_id", "state_key", "event_id"] {
        let text = object.get(field).and_then(Json::text).unwrap_or_default();
        let length = match number(version) {
            ..=10 => text.chars().count(),
            _ => text.len(),
        };
        must(length <= MAX_FIELD_BYTES, field)?;
    }
    must(pdu.prev_events().len() <= 20, "at most 20 events before it")?;
    must(pdu.auth_events().len() <= 10, "at most 10 auth events")?;
    must(pdu.depth() <= Depth::MAX, "a depth that JSON can carry")?;
    must(pdu.depth().next() >= pdu.depth(), "a depth after it")
}

fn is_hashed(pdu: &Pdu, object: &Object, version: RoomVersion) -> Result<(), String> {
    let number = number(version);
    let id = match number {
        1 | 2 => object
            .get("event_id")
            .and_then(Json::text)
            .map(str::to_owned),
        _ => Some(oracle::event_id(object, number)),
    };
    if id.as_deref() != Some(pdu.event_id().as_str()) {
        return Err(format!("its id is {}, not {id:?}", pdu.event_id()));
    }
    let carried = object.get("hashes").and_then(Json::object);
    let carried = carried.and_then(|hashes| hashes.get("sha256")?.text());
    let computed = oracle::content_hash(object);
    let same = verify_content_hash(pdu).unwrap_or(false);
    if same != (carried.map(|hash| hash.trim_end_matches('=')) == Some(&*computed)) {
        return Err(format!("the hash {carried:?} is {same}; it is {computed}"));
    }
    Ok(())
}

fn is_redacted(pdu: &Pdu, object: &Object, version: RoomVersion) -> Result<(), String> {
    let left = match redact(pdu, version, None) {
        Ok(left) => left,
        Err(error) => return Err(format!("it cannot be redacted: {error}")),
    };
    let wanted = oracle::write(&oracle::redact(object, number(version)));
    if left.json() != wanted {
        return Err(format!("redaction leaves {}, not {wanted}", left.json()));
    }
    must(left.event_id() == pdu.event_id(), "redaction keeps the id")?;
    let twice = redact(&left, version, None).map_err(|e| e.to_string())?;
    must(twice == left, "redaction happens once")?;
    let parsed = Pdu::parse(left.json().as_bytes(), version).map_err(|e| e.to_string())?;
    must(parsed == left, "what is left is the same event")?;
    let because = redact(pdu, version, Some(pdu)).map_err(|e| e.to_string())?;
    must(because.unsigned().is_some(), "the redaction is told")
}

fn is_shown(pdu: &Pdu) -> Result<(), String> {
    let shown: Value =
        serde_json::from_str(client_json(pdu, true, None).get()).map_err(|e| e.to_string())?;
    must(
        shown["event_id"] == pdu.event_id().as_str(),
        "the id is shown",
    )?;
    must(shown["content"].is_object(), "the content is shown")?;
    must(shown.get("signatures").is_none(), "no signature is shown")
}

/// An event that the fixtures hold.
fn example(source: &Source) -> Value {
    #[derive(Deserialize)]
    struct Room {
        events: Vec<Sealed>,
    }
    #[derive(Deserialize)]
    struct Sealed {
        json: String,
    }
    static ROOMS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let events = ROOMS.get_or_init(|| {
        let text = include_str!("../../protocol/fixtures/events.json");
        let rooms: Vec<Room> = serde_json::from_str(text).unwrap_or_default();
        let events = rooms.into_iter().flat_map(|room| room.events);
        events.map(|event| event.json).collect()
    });
    let chosen = events.get(source.pick(events.len()));
    chosen.map_or(Value::Null, |json| {
        serde_json::from_str(json).unwrap_or_default()
    })
}

/// The types whose content the rules look at, and others.
pub(crate) const TYPES: [&str; 12] = [
    "m.room.create",
    "m.room.member",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.third_party_invite",
    "m.room.history_visibility",
    "m.room.aliases",
    "m.room.redaction",
    "m.room.server_acl",
    "m.room.message",
    "m.room.topic",
    "org.example.note",
];

/// An event that is nearly right.
fn made_up(source: &Source, version: RoomVersion) -> Value {
    let explicit = version.has_explicit_event_ids();
    let reference = || {
        let id = match explicit {
            true => format!("${}:a.test", source.opaque(6)),
            false => format!("${}", source.opaque(43)),
        };
        match explicit {
            true => json!([id, { "sha256": source.opaque(43) }]),
            false => json!(id),
        }
    };
    let references = |most: usize| -> Value {
        let many = [0, 1, 2, most, most + 1][source.pick(5)];
        (0..many).map(|_| reference()).collect()
    };
    let kind = source.one_of(&TYPES);
    let mut event = json!({
        "type": kind,
        "sender": "@a:a.test",
        "content": content(source, kind),
        "origin_server_ts": source.integer().unsigned_abs(),
        "depth": source.integer(),
        "prev_events": references(20),
        "auth_events": references(10),
        "hashes": { "sha256": source.opaque(43) },
        "signatures": { "a.test": { "ed25519:1": source.opaque(86) } },
    });
    if kind != "m.room.create" || !version.has_hashed_room_ids() || source.once_in(3) {
        event["room_id"] = json!(match version.has_hashed_room_ids() {
            true => format!("!{}", source.opaque(43)),
            false => "!r:a.test".to_owned(),
        });
    }
    if explicit {
        event["event_id"] = json!(format!("${}:a.test", source.opaque(9)));
    }
    if source.once_in(2) {
        event["state_key"] = json!(source.text());
    }
    if kind == "m.room.redaction" {
        event["redacts"] = reference();
    }
    for field in ["origin", "membership", "prev_state", "unsigned", "age_ts"] {
        if source.once_in(6) {
            event[field] = source.json(2);
        }
    }
    event
}

/// A content that is nearly right for its type, or anything.
pub(crate) fn content(source: &Source, kind: &str) -> Value {
    let mut content = match kind {
        "m.room.member" => json!({
            "membership": source.one_of(&["join", "leave", "ban", "invite", "knock", "x"]),
            "third_party_invite": { "display_name": "x", "signed": source.object(1) },
            "join_authorised_via_users_server": "@a:a.test",
        }),
        "m.room.create" => {
            json!({ "creator": "@a:a.test", "room_version": "11", "m.federate": source.once_in(2) })
        }
        "m.room.power_levels" => json!({
            "users": { "@a:a.test": source.integer() }, "ban": source.json(0), "events": source.object(0),
        }),
        "m.room.join_rules" => json!({ "join_rule": source.text(), "allow": source.json(2) }),
        "m.room.aliases" => json!({ "aliases": source.json(1) }),
        "m.room.redaction" => json!({ "redacts": source.text() }),
        "m.room.message" if source.once_in(20) => {
            let length = MAX_EVENT_BYTES - 900 + source.pick(700);
            json!({ "body": "x".repeat(length) })
        }
        _ => Value::Object(source.object(3)),
    };
    if source.once_in(2) {
        content[source.name()] = source.json(3);
    }
    content
}

/// Gives the event the hash of its content, if it has one.
fn hash(event: &mut Value) {
    if let Some((object, _)) = oracle::read(event.to_string().as_bytes()) {
        let hash = oracle::content_hash(&object);
        match event.get_mut("hashes") {
            Some(Value::Object(hashes)) => hashes.insert("sha256".to_owned(), hash.into()),
            _ => None,
        };
    }
}
