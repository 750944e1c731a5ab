//! Owns the short form in which the fixtures write events, and the room that most of them start from. Tests only.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use ruma::{EventId, OwnedEventId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Pdu, RoomVersion, SigningKey};

/// The seed of the specification's test vectors.
pub(crate) const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

/// The key of the specification's test vectors.
pub(crate) fn test_key() -> SigningKey {
    SigningKey::from_text(ruma::server_name!("domain"), &format!("ed25519 1 {SEED}")).unwrap()
}

/// An event in short form. Ids are names without sigil and domain; users are full ids.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sketch {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) key: Option<String>,
    pub(crate) sender: String,
    pub(crate) content: Value,
    #[serde(default)]
    pub(crate) ts: u64,
    #[serde(default = "one")]
    pub(crate) depth: u64,
    #[serde(default)]
    pub(crate) auth: Vec<String>,
    #[serde(default)]
    pub(crate) prev: Vec<String>,
    #[serde(default)]
    pub(crate) rejected: bool,
    pub(crate) redacts: Option<String>,
}

fn one() -> u64 {
    1
}

/// The event id for a name in a fixture.
pub(crate) fn id(name: &str, version: RoomVersion) -> OwnedEventId {
    let domain = if version.has_explicit_event_ids() && !name.contains(':') {
        ":a"
    } else {
        ""
    };
    EventId::parse(format!("${name}{domain}")).unwrap()
}

/// The event that a sketch stands for in a room version, as if from the store: neither hashed nor signed.
pub(crate) fn draw(sketch: &Sketch, version: RoomVersion) -> Pdu {
    let references = |names: &[String]| -> Value {
        let reference = |name: &String| {
            let id = id(name, version);
            if version.has_explicit_event_ids() {
                json!([id, {}])
            } else {
                json!(id)
            }
        };
        names.iter().map(reference).collect()
    };
    let number: u32 = version.as_str().parse().unwrap();
    let mut content = sketch.content.clone();
    let is_create = sketch.event_type == "m.room.create";
    if is_create && number <= 10 && content.get("creator").is_none() {
        content["creator"] = json!(sketch.sender);
    }
    let mut auth = sketch.auth.clone();
    if number >= 12 {
        auth.retain(|name| name != "create");
    }
    let mut event = json!({
        "type": sketch.event_type, "sender": sketch.sender, "content": content, "origin_server_ts": sketch.ts,
        "depth": sketch.depth, "prev_events": references(&sketch.prev), "auth_events": references(&auth),
    });
    if !(is_create && number >= 12) {
        event["room_id"] = json!(if number >= 12 { "!create" } else { "!r:a" });
    }
    if let Some(key) = &sketch.key {
        event["state_key"] = json!(key);
    }
    if let Some(redacts) = &sketch.redacts {
        let place = if number >= 11 {
            &mut event["content"]
        } else {
            &mut event
        };
        place["redacts"] = json!(redacts);
    }
    let id = id(&sketch.id, version);
    Pdu::from_stored(id, event.to_string().as_bytes(), version)
        .unwrap()
        .marked_rejected(sketch.rejected)
}

/// The events of a scenario by id.
pub(crate) fn draw_all(sketches: &[Sketch], version: RoomVersion) -> HashMap<OwnedEventId, Pdu> {
    let events = sketches.iter().map(|sketch| draw(sketch, version));
    events
        .map(|event| (event.event_id().to_owned(), event))
        .collect()
}

/// A room that `@alice:a` made: she has power 100, or is its creator where that counts more, and it is by invitation.
pub(crate) fn base_room(version: RoomVersion) -> BTreeMap<(String, String), Sketch> {
    let users = if version.has_hashed_room_ids() {
        json!({})
    } else {
        json!({"@alice:a": 100})
    };
    let events = json!([
        {"id": "create", "type": "m.room.create", "key": "", "sender": "@alice:a", "content": {}},
        {"id": "alice", "type": "m.room.member", "key": "@alice:a", "sender": "@alice:a",
         "content": {"membership": "join"}},
        {"id": "levels", "type": "m.room.power_levels", "key": "", "sender": "@alice:a", "content": {"users": users}},
        {"id": "rule", "type": "m.room.join_rules", "key": "", "sender": "@alice:a",
         "content": {"join_rule": "invite"}},
    ]);
    let sketches: Vec<Sketch> = serde_json::from_value(events).unwrap();
    let key = |sketch: &Sketch| {
        (
            sketch.event_type.clone(),
            sketch.key.clone().unwrap_or_default(),
        )
    };
    sketches
        .into_iter()
        .map(|sketch| (key(&sketch), sketch))
        .collect()
}

/// Versions written as `"6-12"`, `"8"` or `""`, several separated by commas.
pub(crate) fn versions(ranges: &str) -> Vec<RoomVersion> {
    let index = |id: &str| {
        RoomVersion::ALL
            .into_iter()
            .position(|version| version.as_str() == id)
            .unwrap()
    };
    let ranges = ranges
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty());
    let expand = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        RoomVersion::ALL[index(first)..=index(last)].to_vec()
    };
    ranges.flat_map(expand).collect()
}

/// Reads a fixture file.
pub(crate) fn read<T: DeserializeOwned>(fixture: &str) -> T {
    serde_json::from_str(fixture).unwrap()
}
