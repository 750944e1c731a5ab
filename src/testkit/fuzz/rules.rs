//! Target: the auth rules, through the checks that the server makes. Whatever is made up, nobody gains what the state does
//! not give them; the order in which an event names its auth events does not matter, and naming one twice is refused.

use std::collections::BTreeSet;

use hearth_protocol::{Pdu, RoomVersion, StateMap};
use serde_json::Value;

use crate::{
    Outcome,
    events::number,
    room::{Room, Sketch, USERS},
    source::Source,
};

pub(crate) fn run(source: &Source) -> Outcome {
    let version = RoomVersion::ALL[source.pick(12)];
    let (mut room, mut state) = Room::begin(source, version)?;
    let mut accepted = false;
    for _ in 0..4 + source.pick(8) {
        let sketch = Sketch {
            prev: vec![last(&room)],
            ..room.act(source, &state)
        };
        let Some(pdu) = room.write(&sketch) else {
            continue;
        };
        let verdict = room.judge(&pdu, &state);
        source.tell(|| format!("{verdict:?}: {}", pdu.json()));
        let explain = |what: String| format!("version {version}: {what}: {}", pdu.json());
        if room.judge(&pdu, &state) != verdict {
            return Err(explain("another verdict the second time".to_owned()));
        }
        in_any_order(source, &mut room, &sketch, &state, verdict.is_ok()).map_err(explain)?;
        if verdict.is_err() {
            continue;
        }
        let before = Before {
            room: &room,
            state: &state,
        };
        before.gives(&pdu, &sketch).map_err(explain)?;
        accepted = true;
        room.enter(pdu, &mut state);
    }
    Ok(accepted)
}

fn last(room: &Room) -> ruma::OwnedEventId {
    let deepest = room.events.values().max_by_key(|event| event.depth());
    deepest.map_or_else(
        || ruma::owned_event_id!("$nothing"),
        |event| event.event_id().to_owned(),
    )
}

fn in_any_order(
    source: &Source,
    room: &mut Room,
    sketch: &Sketch,
    state: &StateMap,
    is_allowed: bool,
) -> Result<(), String> {
    let mut other = sketch.clone();
    source.shuffle(&mut other.auth);
    let verdict = |room: &mut Room, sketch: &Sketch| {
        room.write(sketch)
            .map(|pdu| room.judge(&pdu, state).is_ok())
    };
    if verdict(room, &other) != Some(is_allowed) {
        return Err("another verdict with the auth events in another order".to_owned());
    }
    if let Some(first) = other.auth.first().cloned() {
        other.auth.push(first);
        if verdict(room, &other) == Some(true) && other.kind != "m.room.create" {
            return Err("an auth event that is named twice is let through".to_owned());
        }
    }
    Ok(())
}

/// The room before an event, read a second time and as simply as can be.
struct Before<'a> {
    room: &'a Room,
    state: &'a StateMap,
}

/// How much somebody may do; creators of rooms of version 12 everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Power {
    Of(i64),
    Creator,
}

impl Before<'_> {
    /// Whether the state gives the sender what the event, which was accepted, takes.
    fn gives(&self, pdu: &Pdu, sketch: &Sketch) -> Result<(), String> {
        let kind = pdu.event_type();
        let version = number(self.room.version);
        match kind {
            "m.room.create" => Err("a second create event".to_owned()),
            "m.room.member" => self.gives_membership(sketch),
            "m.room.aliases" if version <= 5 => Ok(()),
            _ if self.membership(sketch.sender) != "join" => {
                Err("its sender is not in it".to_owned())
            }
            "m.room.power_levels" => self.gives_power(sketch),
            _ => {
                let foreign = sketch.key.as_deref().is_some_and(|key| {
                    key.starts_with('@')
                        && key != sketch.sender
                        && kind != "m.room.third_party_invite"
                });
                must(!foreign, "the state of another user")?;
                match kind {
                    "m.room.third_party_invite" => self.needs(sketch.sender, "invite", 0),
                    "m.room.join_rules" | "m.room.topic" => self.needs_to_send(sketch),
                    _ => Ok(()),
                }
            }
        }
    }

    fn content(&self, kind: &str, key: &str) -> Value {
        self.room.content(self.state, kind, key)
    }

    fn membership(&self, user: &str) -> String {
        let content = self.content("m.room.member", user);
        content["membership"].as_str().unwrap_or("leave").to_owned()
    }

    /// A level as it is written, nothing if it is none.
    fn level(&self, value: &Value) -> Option<i64> {
        match value {
            Value::String(text) if number(self.room.version) < 10 => text.trim().parse().ok(),
            other => other.as_i64(),
        }
    }

    fn power(&self, user: &str) -> Power {
        let create = self.content("m.room.create", "");
        let version = number(self.room.version);
        let named = create["additional_creators"].as_array();
        let is_named = named.is_some_and(|named| named.iter().any(|name| name == user));
        if version >= 12 && (user == USERS[0] || is_named) {
            return Power::Creator;
        }
        let levels = self.content("m.room.power_levels", "");
        let level = self.level(&levels["users"][user]);
        let level = level.or_else(|| self.level(&levels["users_default"]));
        Power::Of(level.unwrap_or(0))
    }

    fn needs(&self, user: &str, field: &str, default: i64) -> Result<(), String> {
        let levels = self.content("m.room.power_levels", "");
        let needed = self.level(&levels[field]).unwrap_or(default);
        must(self.power(user) >= Power::Of(needed), field)
    }

    fn needs_to_send(&self, sketch: &Sketch) -> Result<(), String> {
        let levels = self.content("m.room.power_levels", "");
        match self.level(&levels["events"][&sketch.kind]) {
            Some(needed) => must(
                self.power(sketch.sender) >= Power::Of(needed),
                "the level of the type",
            ),
            None => self.needs(sketch.sender, "state_default", 50),
        }
    }

    /// Nobody gives more than they have, nor takes from those who have as much.
    fn gives_power(&self, sketch: &Sketch) -> Result<(), String> {
        let own = self.power(sketch.sender);
        let before = self.content("m.room.power_levels", "");
        let (old, new) = (&before, &sketch.content);
        if !old.is_object() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        for map in [&old["users"], &new["users"]] {
            names.extend(map.as_object().into_iter().flat_map(|map| map.keys()));
        }
        for user in names {
            let (was, is) = (
                self.level(&old["users"][user]),
                self.level(&new["users"][user]),
            );
            if was == is {
                continue;
            }
            let given = is.is_none_or(|is| Power::Of(is) <= own);
            must(given, "a user gets more than the sender has")?;
            let taken = was.is_none_or(|was| user == sketch.sender || Power::Of(was) < own);
            must(taken, "a user with as much loses some")?;
        }
        let fields = [
            "users_default",
            "events_default",
            "state_default",
            "ban",
            "redact",
            "kick",
            "invite",
        ];
        for field in fields {
            let (was, is) = (self.level(&old[field]), self.level(&new[field]));
            let within = [was, is]
                .iter()
                .flatten()
                .all(|level| Power::Of(*level) <= own);
            must(was == is || within, field)?;
        }
        for kind in ["m.room.power_levels", "m.room.topic", "room"] {
            let (was, is) = (&old["events"][kind], &new["events"][kind]);
            let (was, is) = (self.level(was), self.level(is));
            let within = [was, is]
                .iter()
                .flatten()
                .all(|level| Power::Of(*level) <= own);
            must(was == is || within, kind)?;
        }
        self.needs_to_send(sketch)
    }

    fn gives_membership(&self, sketch: &Sketch) -> Result<(), String> {
        let target = sketch.key.as_deref().unwrap_or_default();
        let is_own = target == sketch.sender;
        let (now, was) = (
            sketch.content["membership"].as_str(),
            self.membership(target),
        );
        let is_in = self.membership(sketch.sender) == "join";
        let (own, other) = (self.power(sketch.sender), self.power(target));
        match now.unwrap_or_default() {
            "join" => {
                must(is_own, "a user joins another")?;
                must(was != "ban", "a banned user joins")?;
                let rule = self.content("m.room.join_rules", "");
                let closed = rule["join_rule"]
                    .as_str()
                    .is_none_or(|rule| rule == "invite");
                let known = ["join", "invite"].contains(&was.as_str());
                must(!closed || known, "nobody invited the user")
            }
            // Who was invited by another name may be invited again.
            "invite" if sketch.content["third_party_invite"].is_object() => {
                must(was != "ban", "the user is banned")
            }
            "invite" => {
                must(was != "ban" && was != "join", "the user is banned or there")?;
                must(is_in, "who invites is not there")?;
                self.needs(sketch.sender, "invite", 0)
            }
            "leave" if is_own => must(
                ["join", "invite", "knock"].contains(&was.as_str()),
                "nobody leaves who is not there",
            ),
            "leave" => {
                must(is_in && other < own, "who kicks has no more power")?;
                if was == "ban" {
                    self.needs(sketch.sender, "ban", 50)?;
                }
                self.needs(sketch.sender, "kick", 50)
            }
            "ban" => {
                must(is_in && other < own, "who bans has no more power")?;
                self.needs(sketch.sender, "ban", 50)
            }
            "knock" => {
                let allowed = !["join", "ban", "invite"].contains(&was.as_str());
                must(is_own && allowed, "the user cannot knock")?;
                must(number(self.room.version) >= 7, "there is no knocking")
            }
            other => Err(format!("there is no membership {other:?}")),
        }
    }
}

fn must(holds: bool, what: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("against the rules: {what}")),
    }
}
