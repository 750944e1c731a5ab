//! Owns the events of a transaction: right ones, forged ones, and such as nobody can tell. Must never call one forged that a
//! server might have to take.

use std::collections::HashMap;

use hearth_protocol::{
    Depth, Draft, MAX_EVENT_BYTES, MemberDraft, Pdu, RoomVersion, SigningKey, auth_types,
    reference_hash, seal, seal_template,
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    hostile::{EVIL, key_of},
    world::{Inside, OWN, Room, escaped},
};
use crate::{
    events::{TYPES, content},
    source::Source,
};

/// An event of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) json: Value,
    /// Its id, if it has one.
    pub(super) id: Option<String>,
    /// What its body says, if it has to be shown once it is accepted.
    pub(super) marker: Option<String>,
    /// Whether nobody may ever read it.
    pub(super) is_forged: bool,
}

/// What a hostile server knows of a room that it is in.
pub(super) struct Forger {
    version: RoomVersion,
    room_id: OwnedRoomId,
    now: u64,
    seed: u64,
    proof: String,
    state: HashMap<(String, String), Pdu>,
    /// The newest of its right events.
    last: Pdu,
    written: u32,
}

impl Forger {
    /// Joins the room, as two users of two hostile servers.
    pub(super) async fn join(world: &Inside, source: &Source, room: &Room) -> Result<Self, String> {
        let mut newest = None;
        let mut state = HashMap::new();
        for server in &EVIL[..2] {
            let user = UserId::parse(format!("@u:{server}")).map_err(|e| e.to_string())?;
            let (join, known) = join(world, source, room, server, &user).await?;
            state = known;
            let key = ("m.room.member".to_owned(), user.to_string());
            state.insert(key, join.clone());
            newest = Some(join);
        }
        Ok(Self {
            version: room.version,
            room_id: room.id.clone(),
            now: room.now,
            seed: source.seed,
            proof: room.proof.clone(),
            state,
            last: newest.ok_or("nobody joined")?,
            written: 0,
        })
    }

    /// The events of a transaction.
    pub(super) fn events(&mut self, _: &Inside, source: &Source) -> Result<Vec<Sent>, String> {
        let mut events = vec![self.right(source)?];
        let many = match source.once_in(20) {
            true => 49,
            false => 1 + source.pick(8),
        };
        while events.len() < many {
            match source.pick(8) {
                0 | 1 => events.push(self.right(source)?),
                2..=5 => events.push(self.never(source, "forged")?),
                6 => events.push(self.odd(source)?),
                _ => {
                    let again = events[source.pick(events.len())].clone();
                    events.push(again);
                }
            }
        }
        Ok(events)
    }

    /// An id that no event has.
    pub(super) fn unknown(&self, source: &Source) -> String {
        match self.version.has_explicit_event_ids() {
            true => format!("${}:{}", source.opaque(9), EVIL[0]),
            false => format!("${}", source.opaque(43)),
        }
    }

    /// Events that lead nowhere, for answers.
    pub(super) fn junk(&self, source: &Source, many: usize) -> Vec<Value> {
        let one = |number: usize| {
            let kind = source.one_of(&TYPES);
            let mut draft = self.draft("@u:e0.evil.test", kind, &json!({ "body": "forged" }))?;
            draft.state_key = Some(format!("{number}"));
            draft.prev_events = (0..source.pick(20))
                .filter_map(|_| self.unknown_id(source))
                .collect();
            draft.auth_events = (0..source.pick(10))
                .filter_map(|_| self.unknown_id(source))
                .collect();
            draft.local_id = source.opaque(8);
            self.sealed(draft, EVIL[source.pick(3)])
        };
        let made = (0..many).filter_map(|number| one(number).ok());
        made.filter_map(|pdu| serde_json::from_str(pdu.json()).ok())
            .map(|mut event: Value| {
                // Signed by many: each name costs whoever looks for its key.
                if source.once_in(3) {
                    event["sender"] = json!(format!("@u:k{}.evil.test", source.pick(200)));
                }
                event
            })
            .collect()
    }

    fn unknown_id(&self, source: &Source) -> Option<OwnedEventId> {
        OwnedEventId::try_from(self.unknown(source)).ok()
    }

    /// A message of a member.
    fn right(&mut self, source: &Source) -> Result<Sent, String> {
        self.written += 1;
        let marker = format!("marker-{}-{};", source.seed, self.written);
        let content = json!({ "msgtype": "m.text", "body": marker });
        let draft = self.draft("@u:e0.evil.test", "m.room.message", &content)?;
        let pdu = self.sealed(draft, EVIL[0])?;
        self.last = pdu.clone();
        Ok(sent(&pdu, Some(marker), false))
    }

    /// An event that may never be read.
    pub(super) fn never(&mut self, source: &Source, word: &str) -> Result<Sent, String> {
        self.written += 1;
        let said = json!({ "msgtype": "m.text", "body": format!("forged {word}") });
        let text = "m.room.message";
        let own = "@u:e0.evil.test";
        if word == "replayed" {
            return Ok(sent(
                &self.sealed(self.draft(own, text, &said)?, EVIL[0])?,
                None,
                true,
            ));
        }
        let alice = format!("@alice:{OWN}");
        let draft = match source.pick(12) {
            // In the name of others, signed by the wrong server.
            0 => self.draft(&alice, text, &said)?,
            1 => self.draft("@u:e1.evil.test", text, &said)?,
            2 => self.draft("@u:e2.evil.test", text, &said)?,
            // Of somebody who is not in the room.
            3 => self.draft("@stranger:e0.evil.test", text, &said)?,
            // Without the power for it.
            4 => {
                let content = json!({ "users": { own: 100, alice: 0 }, "users_default": 100 });
                self.state_draft(own, "m.room.power_levels", "", &content)?
            }
            5 => self.state_draft(own, "m.room.topic", "", &json!({ "topic": "forged" }))?,
            6 => {
                let content =
                    json!({ "membership": (["ban", "leave"])[source.pick(2)], "reason": "forged" });
                self.state_draft(own, "m.room.member", &alice, &content)?
            }
            7 => self.state_draft(
                own,
                "m.room.create",
                "",
                &json!({ "creator": own, "x": "forged" }),
            )?,
            // Vouched for by nothing, or by what is not there.
            8 => {
                let mut draft = self.draft(own, text, &said)?;
                draft.auth_events = (0..10).filter_map(|_| self.unknown_id(source)).collect();
                draft
            }
            9 => {
                let mut draft = self.draft(own, text, &said)?;
                draft.auth_events.push(self.last.event_id().to_owned());
                draft
            }
            // Of a room that nobody knows.
            10 => {
                let mut draft = self.draft(own, text, &said)?;
                let id = match self.version.has_hashed_room_ids() {
                    true => format!("!{}", source.opaque(43)),
                    false => format!("!{}:{OWN}", source.opaque(9)),
                };
                draft.room_id = Some(RoomId::parse(id).map_err(|e| e.to_string())?);
                draft
            }
            _ => return self.altered(source, &said),
        };
        Ok(sent(&self.sealed(draft, EVIL[0])?, None, true))
    }

    /// A right event that was changed after it was signed. Its id does not cover all of its content, so that it may be kept
    /// without that.
    fn altered(&self, source: &Source, said: &Value) -> Result<Sent, String> {
        let draft = self.draft("@u:e0.evil.test", "m.room.message", &json!({ "body": "x" }))?;
        let pdu = self.sealed(draft, EVIL[0])?;
        let mut sent = sent(&pdu, None, false);
        match source.pick(4) {
            0 => sent.json["content"] = said.clone(),
            1 => {
                sent.json["content"] = said.clone();
                sent.json["sender"] = json!(format!("@alice:{OWN}"));
            }
            2 => {
                sent.json["content"]["body"] = json!("forged ".repeat(MAX_EVENT_BYTES / 7));
            }
            _ => {
                sent.json["content"] = said.clone();
                sent.json["hashes"] = json!({});
            }
        }
        Ok(sent)
    }

    /// An event that may be right or wrong: whoever takes it must not come to harm.
    fn odd(&mut self, source: &Source) -> Result<Sent, String> {
        self.written += 1;
        let other = "@u:e1.evil.test";
        let mut sent = match source.pick(7) {
            0 => Sent {
                json: source.json(3),
                id: None,
                marker: None,
                is_forged: false,
            },
            1 => {
                let mut draft = self.draft(other, "m.room.message", &json!({ "body": "odd" }))?;
                draft.prev_events = (0..1 + source.pick(20))
                    .filter_map(|_| self.unknown_id(source))
                    .collect();
                draft.depth = [Depth(0), Depth(1), Depth::MAX][source.pick(3)];
                sent(&self.sealed(draft, EVIL[1])?, None, false)
            }
            2 => {
                let kind = source.one_of(&TYPES);
                let draft = self.state_draft(other, kind, other, &content(source, kind))?;
                match self.sealed(draft, EVIL[1]) {
                    Ok(pdu) => sent(&pdu, None, false),
                    Err(_) => return self.right(source),
                }
            }
            3 => {
                // A redaction of what it may not redact.
                let mut draft = self.draft(other, "m.room.redaction", &json!({}))?;
                draft.redacts = OwnedEventId::try_from(&*self.proof).ok();
                sent(&self.sealed(draft, EVIL[1])?, None, false)
            }
            4 => {
                // An event before itself, where ids can be chosen; else one that has its own id nowhere.
                let mut draft = self.draft(other, "m.room.message", &json!({ "body": "odd" }))?;
                let own = format!("${}:{}", draft.local_id, EVIL[1]);
                draft.prev_events.extend(OwnedEventId::try_from(own).ok());
                draft.auth_events.extend(self.unknown_id(source));
                sent(&self.sealed(draft, EVIL[1])?, None, false)
            }
            5 => {
                let last = self.last.clone();
                let mut sent = self.right(source)?;
                self.last = last;
                sent.marker = None;
                sent.json["depth"] =
                    [json!(-1), json!(1_u64 << 53), json!("1"), json!(1.5)][source.pick(4)].clone();
                sent
            }
            _ => {
                let draft = self.draft(other, "m.room.message", &json!({ "body": "odd" }))?;
                let mut sent = sent(&self.sealed(draft, EVIL[1])?, None, false);
                for _ in 0..=source.pick(3) {
                    source.bend(&mut sent.json);
                }
                sent
            }
        };
        sent.id = None;
        Ok(sent)
    }

    /// A draft with the auth events that it should have, after the newest right event.
    fn draft(&self, sender: &str, kind: &str, content: &Value) -> Result<Draft, String> {
        self.drafted(sender, kind, None, content)
    }

    fn state_draft(
        &self,
        sender: &str,
        kind: &str,
        key: &str,
        content: &Value,
    ) -> Result<Draft, String> {
        self.drafted(sender, kind, Some(key), content)
    }

    fn drafted(
        &self,
        sender: &str,
        kind: &str,
        key: Option<&str>,
        content: &Value,
    ) -> Result<Draft, String> {
        let sender = OwnedUserId::try_from(sender).map_err(|e| e.to_string())?;
        let content = to_raw_value(content).map_err(|e| e.to_string())?;
        let now =
            MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.now + u64::from(self.written)));
        let types = auth_types(kind, &sender, key, &content, self.version).unwrap_or_default();
        let auth = types.iter().filter_map(|key| self.state.get(key));
        let mut draft = Draft::new(sender, kind, content, now);
        draft.auth_events = auth.map(|event| event.event_id().to_owned()).collect();
        draft.room_id = Some(self.room_id.clone());
        draft.state_key = key.map(str::to_owned);
        draft.prev_events = vec![self.last.event_id().to_owned()];
        draft.depth = self.last.depth().next();
        draft.local_id = format!("x{}_{}", self.seed, self.written);
        Ok(draft)
    }

    fn sealed(&self, mut draft: Draft, server: &str) -> Result<Pdu, String> {
        if self.version.has_explicit_event_ids() {
            for id in draft.prev_events.iter().chain(&draft.auth_events) {
                let known = self.state.values().chain([&self.last]);
                let known = known.into_iter().find(|event| event.event_id() == id);
                let hash = known.and_then(|event| reference_hash(event, self.version).ok());
                let hash = hash.unwrap_or_else(|| "bm90aGluZw".to_owned());
                draft.reference_hashes.push((id.clone(), hash));
            }
        }
        seal(draft, self.version, &key_of(server)?).map_err(|e| e.to_string())
    }
}

fn sent(pdu: &Pdu, marker: Option<String>, is_forged: bool) -> Sent {
    Sent {
        json: serde_json::from_str(pdu.json()).unwrap_or_default(),
        id: Some(pdu.event_id().to_string()),
        marker,
        is_forged,
    }
}

/// What the room's server told: the entries of the state.
type State = HashMap<(String, String), Pdu>;

async fn join(
    world: &Inside,
    source: &Source,
    room: &Room,
    server: &str,
    user: &UserId,
) -> Result<(Pdu, State), String> {
    let (room_id, version) = (&room.id, room.version);
    let versions: Vec<_> = RoomVersion::ALL
        .iter()
        .map(|v| format!("ver={v}"))
        .collect();
    let uri = format!(
        "/_matrix/federation/v1/make_join/{}/{}?{}",
        escaped(room_id.as_str()),
        escaped(user.as_str()),
        versions.join("&"),
    );
    let (status, answer) = world.as_evil(server, "GET", &uri, &[]).await?;
    let template = to_raw_value(&answer["event"]).map_err(|e| e.to_string())?;
    let key: SigningKey = key_of(server)?;
    let draft = MemberDraft {
        room_id: room_id.clone(),
        user: user.to_owned(),
        content: RawValue::from_string(r#"{"membership":"join"}"#.to_owned())
            .map_err(|e| e.to_string())?,
        origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new_saturating(room.now)),
        local_id: source.opaque(10),
    };
    let join = seal_template(&template, draft, version, &key)
        .map_err(|e| format!("{e}: {status} {answer}"))?;
    let uri = format!(
        "/_matrix/federation/v2/send_join/{}/{}",
        escaped(room_id.as_str()),
        escaped(join.event_id().as_str()),
    );
    let body = join.json().as_bytes();
    let (status, answer) = world.as_evil(server, "PUT", &uri, body).await?;
    let told = answer["state"]
        .as_array()
        .ok_or_else(|| format!("{status} {answer}"))?;
    let events = told.iter().filter_map(|event| {
        let pdu = Pdu::parse(event.to_string().as_bytes(), version).ok()?;
        let key = pdu.state_key()?.to_owned();
        Some(((pdu.event_type().to_owned(), key), pdu))
    });
    Ok((join, events.collect()))
}
