//! Owns the messages of a transaction that are no events: of each kind, right ones, forged ones and bent ones.

use ruma::RoomId;
use serde_json::{Value, json};

use super::world::OWN;
use crate::source::Source;

const KINDS: [&str; 8] = [
    "m.typing",
    "m.presence",
    "m.receipt",
    "m.direct_to_device",
    "m.device_list_update",
    "m.signing_key_update",
    "m.unknown",
    "",
];

/// Some messages. In others' names they say that they are forged, as far as they can say anything.
pub(super) fn made_up(source: &Source, room_id: &RoomId) -> Vec<Value> {
    let many = match source.once_in(30) {
        true => 100,
        false => source.pick(6),
    };
    (0..many).map(|_| one(source, room_id)).collect()
}

fn one(source: &Source, room_id: &RoomId) -> Value {
    let alice = format!("@alice:{OWN}");
    let others = [&*alice, "@u:e1.evil.test", "@forged:e2.evil.test"];
    let (who, word) = match source.once_in(3) {
        true => ("@u:e0.evil.test", "odd"),
        false => (others[source.pick(3)], "forged"),
    };
    let kind = source.one_of(&KINDS);
    let content = match kind {
        "m.typing" => json!({ "room_id": room_id, "user_id": who, "typing": true }),
        "m.presence" => json!({ "push": [{
            "user_id": who, "presence": "online", "last_active_ago": source.integer(),
            "status_msg": word, "currently_active": true,
        }] }),
        "m.receipt" => json!({ room_id.as_str(): { "m.read": { who: {
            "event_ids": [format!("${word}")], "data": { "ts": source.integer(), "thread_id": word },
        } } } }),
        "m.direct_to_device" => json!({
            "sender": who, "type": format!("m.{word}"), "message_id": source.opaque(9),
            "messages": { alice.clone(): { "*": { "x": word } } },
        }),
        "m.device_list_update" => json!({
            "user_id": who, "device_id": word, "stream_id": source.integer(),
            "prev_id": [source.integer()], "device_display_name": word, "keys": source.json(2),
        }),
        "m.signing_key_update" => json!({ "user_id": who, "master_key": source.json(3) }),
        _ => source.json(3),
    };
    let mut message = json!({ "edu_type": kind, "content": content });
    let is_bent = source.once_in(2);
    if is_bent {
        source.bend(&mut message);
    }
    message
}
