//! Owns made-up rooms: events that read as other servers would send them, judged by the checks that the server makes, in
//! their order. Must never let an event into a state that those checks refuse.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::collections::HashMap;

use hearth_protocol::{
    Pdu, RoomVersion, StateMap, auth_types, check_named, check_state, create_id, sign_json,
};
use ruma::{CanonicalJsonObject, OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json, value::RawValue};

use crate::{events::number, signatures::key_of, source::Source};

/// Who may be in a room. Alice makes it.
pub(crate) const USERS: [&str; 6] = [
    "@alice:a.test",
    "@bob:b.test",
    "@carol:c.test",
    "@dave:d.test",
    "@erin:a.test",
    "@mallory:m.test",
];

/// An event before it has an id.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) kind: String,
    pub(crate) key: Option<String>,
    pub(crate) sender: &'static str,
    pub(crate) content: Value,
    pub(crate) auth: Vec<OwnedEventId>,
    pub(crate) prev: Vec<OwnedEventId>,
    pub(crate) at: u64,
    pub(crate) depth: u64,
}

/// A room, as far as events go.
pub(crate) struct Room {
    pub(crate) version: RoomVersion,
    pub(crate) events: HashMap<OwnedEventId, Pdu>,
    room_id: OwnedRoomId,
    written: u64,
}

impl Room {
    /// A room with its creator, levels, a join rule and members, and the state of that.
    pub(crate) fn begin(source: &Source, version: RoomVersion) -> Result<(Self, StateMap), String> {
        let room_id = RoomId::parse("!r:a.test").map_err(|e| e.to_string())?;
        let mut room = Self {
            version,
            events: HashMap::new(),
            room_id,
            written: 0,
        };
        let mut state = StateMap::new();
        let mut create = json!({ "room_version": version.as_str(), "creator": USERS[0] });
        if version.has_hashed_room_ids() && source.once_in(4) {
            create["additional_creators"] = json!([USERS[4]]);
        }
        if source.once_in(8) {
            create["m.federate"] = json!(true);
        }
        let own = match version.has_hashed_room_ids() {
            true => json!({ USERS[1]: 50 }),
            false => json!({ USERS[0]: 100, USERS[1]: 50 }),
        };
        let rules = match number(version) {
            ..=6 => ["public", "invite", "public"],
            7 => ["public", "invite", "knock"],
            _ => ["public", "knock", "restricted"],
        };
        let rule = rules[source.pick(3)];
        let (alice, bob) = (USERS[0], USERS[1]);
        let join = json!({ "membership": "join" });
        let steps = [
            (alice, "m.room.create", "", create),
            (alice, "m.room.member", alice, join.clone()),
            (alice, "m.room.power_levels", "", json!({ "users": own })),
            (
                alice,
                "m.room.join_rules",
                "",
                json!({ "join_rule": "public" }),
            ),
            (bob, "m.room.member", bob, join.clone()),
            (USERS[2], "m.room.member", USERS[2], join),
            (
                alice,
                "m.room.member",
                USERS[3],
                json!({ "membership": "ban" }),
            ),
            (alice, "m.room.join_rules", "", json!({ "join_rule": rule })),
        ];
        let mut before = Vec::new();
        for (sender, kind, key, content) in steps {
            let sketch = Sketch {
                kind: kind.to_owned(),
                key: Some(key.to_owned()),
                sender,
                auth: room.vouchers(&state, sender, kind, Some(key), &content),
                content,
                prev: before,
                at: 1_000_000 + room.written,
                depth: room.written + 1,
            };
            let pdu = room
                .write(&sketch)
                .ok_or_else(|| format!("it is no event: {sketch:?}"))?;
            room.judge(&pdu, &state)
                .map_err(|e| format!("the room cannot begin: {e}: {}", pdu.json()))?;
            before = vec![pdu.event_id().to_owned()];
            room.enter(pdu, &mut state);
        }
        Ok((room, state))
    }

    /// The events of the state that vouch for such an event, as its sender's server would choose them.
    pub(crate) fn vouchers(
        &self,
        state: &StateMap,
        sender: &str,
        kind: &str,
        key: Option<&str>,
        content: &Value,
    ) -> Vec<OwnedEventId> {
        let Ok(content) = RawValue::from_string(content.to_string()) else {
            return Vec::new();
        };
        let Ok(sender) = <&UserId>::try_from(sender) else {
            return Vec::new();
        };
        let types = auth_types(kind, sender, key, &content, self.version).unwrap_or_default();
        let ids = types.iter().filter_map(|key| state.get(key).cloned());
        ids.collect()
    }

    /// The event of a sketch, with its id; nothing if it has not the form of one.
    pub(crate) fn write(&mut self, sketch: &Sketch) -> Option<Pdu> {
        self.written += 1;
        let explicit = self.version.has_explicit_event_ids();
        let refer = |ids: &[OwnedEventId]| -> Value {
            let one = |id: &OwnedEventId| match explicit {
                true => json!([id, { "sha256": "" }]),
                false => json!(id),
            };
            ids.iter().map(one).collect()
        };
        let (_, server) = sketch.sender.split_once(':')?;
        let mut event = json!({
            "type": sketch.kind,
            "sender": sketch.sender,
            "content": sketch.content,
            "origin_server_ts": sketch.at,
            "depth": sketch.depth,
            "prev_events": refer(&sketch.prev),
            "auth_events": refer(&sketch.auth),
            "hashes": { "sha256": "" },
            "signatures": { server: {} },
        });
        let is_create = sketch.kind == "m.room.create";
        if !is_create || !self.version.has_hashed_room_ids() {
            event["room_id"] = json!(self.room_id);
        }
        if let Some(key) = &sketch.key {
            event["state_key"] = json!(key);
        }
        if explicit {
            event["event_id"] = json!(format!("${}:{server}", self.written));
        }
        let pdu = Pdu::parse(event.to_string().as_bytes(), self.version).ok()?;
        if is_create && self.events.is_empty() {
            self.room_id = pdu.room_id().to_owned();
        }
        Some(pdu)
    }

    /// Takes an event in that was judged.
    pub(crate) fn enter(&mut self, pdu: Pdu, state: &mut StateMap) {
        let id = pdu.event_id().to_owned();
        if let Some(key) = pdu.state_key() {
            let key = (pdu.event_type().to_owned(), key.to_owned());
            state.insert(key, id.clone());
        }
        self.events.insert(id, pdu);
    }

    /// Whether the checks on receipt let the event into this state: what it names, then the state before it.
    pub(crate) fn judge(&self, pdu: &Pdu, before: &StateMap) -> Result<(), String> {
        let create = create_id(self.version, pdu.room_id());
        let named = pdu.auth_events().iter().chain(&create);
        let known: HashMap<_, _> = named
            .filter_map(|id| Some((id.clone(), self.events.get(id)?.clone())))
            .collect();
        check_named(self.version, pdu, &known).map_err(|denied| denied.reason)?;
        self.allow(pdu, before)
    }

    /// Whether the state allows the event.
    pub(crate) fn allow(&self, pdu: &Pdu, state: &StateMap) -> Result<(), String> {
        let (kind, sender) = (pdu.event_type(), pdu.sender());
        let types = auth_types(kind, sender, pdu.state_key(), pdu.content(), self.version)
            .map_err(|denied| denied.reason)?;
        let create = ("m.room.create".to_owned(), String::new());
        let types: Vec<_> = types.into_iter().chain([create]).collect();
        check_state(self.version, pdu, |kind, key| {
            let key = (kind.to_owned(), key.to_owned());
            types.contains(&key).then(|| self.at(state, &key)).flatten()
        })
        .map_err(|denied| denied.reason)
    }

    fn at(&self, state: &StateMap, key: &(String, String)) -> Option<Pdu> {
        self.events.get(state.get(key)?).cloned()
    }

    /// The content of an entry of a state, null if there is none.
    pub(crate) fn content(&self, state: &StateMap, kind: &str, key: &str) -> Value {
        let event = self.at(state, &(kind.to_owned(), key.to_owned()));
        event.map_or(Value::Null, |event| {
            serde_json::from_str(event.content().get()).unwrap_or_default()
        })
    }

    /// What somebody does, whether they may or not.
    pub(crate) fn act(&self, source: &Source, state: &StateMap) -> Sketch {
        let sender = USERS[source.pick(USERS.len())];
        let target = USERS[source.pick(USERS.len())];
        let (kind, key, mut content) = match source.pick(12) {
            0..=2 => (
                "m.room.power_levels",
                Some(""),
                self.levels(source, state, sender),
            ),
            3..=6 => self.membership(source, sender, target),
            7 => {
                let rule =
                    source.one_of(&["public", "invite", "knock", "restricted", "private", "x"]);
                let content = json!({ "join_rule": rule, "allow": [] });
                ("m.room.join_rules", Some(""), content)
            }
            8 => {
                let key = key_of(2).map(|key| key.verify_key().encode());
                let content = json!({ "display_name": "x", "public_key": key.unwrap_or_default() });
                ("m.room.third_party_invite", Some("t"), content)
            }
            9 => {
                let key = source.one_of(&["a.test", "m.test"]);
                ("m.room.aliases", Some(key), json!({ "aliases": [] }))
            }
            10 => (
                "m.room.topic",
                Some([target, ""][source.pick(2)]),
                json!({ "topic": "x" }),
            ),
            _ => {
                let kind = ["m.room.message", "m.room.redaction", "m.room.create"][source.pick(3)];
                let key = (kind == "m.room.create").then_some("");
                (kind, key, json!({ "creator": sender, "redacts": "$x" }))
            }
        };
        if source.once_in(10) {
            source.bend(&mut content);
        }
        let mut auth = self.vouchers(state, sender, kind, key, &content);
        self.choose_others(source, &mut auth);
        Sketch {
            kind: kind.to_owned(),
            key: key.map(str::to_owned),
            sender,
            content,
            auth,
            prev: Vec::new(),
            at: 1_000_000 + source.pick(40) as u64,
            depth: 10 + source.pick(40) as u64,
        }
    }

    /// Now and then an event names others than it should.
    fn choose_others(&self, source: &Source, auth: &mut Vec<OwnedEventId>) {
        let mut known: Vec<&OwnedEventId> = self.events.keys().collect();
        known.sort_unstable();
        match source.pick(14) {
            0 if !auth.is_empty() => {
                auth.remove(source.pick(auth.len()));
            }
            1 => auth.push(known[source.pick(known.len())].clone()),
            2 if !auth.is_empty() => {
                let at = source.pick(auth.len());
                auth[at] = known[source.pick(known.len())].clone();
            }
            _ => {}
        }
    }

    fn levels(&self, source: &Source, state: &StateMap, sender: &str) -> Value {
        let mut levels = self.content(state, "m.room.power_levels", "");
        if !levels.is_object() || source.once_in(12) {
            levels = json!({});
        }
        for _ in 0..=source.pick(2) {
            let level = match source.pick(8) {
                0 => source.json(1),
                1 => json!(source.integer()),
                2 => json!(source.one_of(&["50", " 50 ", "+50", "1e2", "100.5"])),
                _ => json!([0, 25, 50, 99, 100][source.pick(5)]),
            };
            match source.pick(4) {
                0 | 1 => {
                    let user = [sender, USERS[source.pick(USERS.len())]][source.pick(2)];
                    if !levels["users"].is_object() {
                        levels["users"] = json!({});
                    }
                    levels["users"][user] = level;
                }
                2 => {
                    let fields = [
                        "users_default",
                        "events_default",
                        "state_default",
                        "ban",
                        "kick",
                        "redact",
                        "invite",
                    ];
                    levels[source.one_of(&fields)] = level;
                }
                _ => {
                    let map = source.one_of(&["events", "notifications"]);
                    if !levels[map].is_object() {
                        levels[map] = json!({});
                    }
                    levels[map][source.one_of(&["m.room.power_levels", "m.room.topic", "room"])] =
                        level;
                }
            }
        }
        levels
    }

    fn membership(
        &self,
        source: &Source,
        sender: &'static str,
        target: &'static str,
    ) -> (&'static str, Option<&'static str>, Value) {
        let (key, membership) = match source.pick(7) {
            0 | 1 => (sender, "join"),
            2 => (target, "invite"),
            3 => (target, "ban"),
            4 => ([target, sender][source.pick(2)], "leave"),
            5 => (sender, "knock"),
            _ => (target, "join"),
        };
        let mut content = json!({ "membership": membership });
        if membership == "join" && source.once_in(2) {
            content["join_authorised_via_users_server"] = json!(USERS[source.pick(USERS.len())]);
        }
        if membership == "invite" && source.once_in(2) {
            let signed = signed_invite(source, target).unwrap_or_default();
            content["third_party_invite"] = json!({ "display_name": "x", "signed": signed });
        }
        ("m.room.member", Some(key), content)
    }
}

/// What an identity server signs, now and then for another.
fn signed_invite(source: &Source, target: &str) -> Result<Value, String> {
    let mxid = if source.once_in(5) { USERS[1] } else { target };
    let mut signed = CanonicalJsonObject::from([
        ("mxid".to_owned(), mxid.into()),
        ("token".to_owned(), "t".into()),
    ]);
    let key = key_of(if source.once_in(5) { 1 } else { 2 })?;
    sign_json(&mut signed, key).map_err(|e| e.to_string())?;
    serde_json::to_value(signed).map_err(|e| e.to_string())
}
