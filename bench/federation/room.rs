//! Owns a room that made-up servers are in: its events, made and signed as their own server would. Must never take in anything but
//! what a join brings.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#pdus>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hearth_protocol::{Depth, Draft, Pdu, RoomVersion, seal};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt,
};
use serde_json::{Value, json, value::to_raw_value};

use super::hosts::Host;
use crate::Failure;

/// The version of all rooms here.
pub(crate) const VERSION: &str = "11";

/// How many members may change the state.
const MODERATORS: usize = 100;

/// A room. A copy costs little.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) id: OwnedRoomId,
    version: RoomVersion,
    /// One after the other: each follows the one before.
    events: Vec<Arc<Pdu>>,
    places: HashMap<OwnedEventId, usize>,
    /// The current state.
    state: BTreeMap<(String, String), usize>,
    /// The names of the servers in it, as JSON.
    servers: String,
    told: Option<Told>,
}

/// What an answer to a join says of the room, as JSON: state and auth chain.
#[derive(Clone)]
struct Told {
    whole: Bytes,
    without_members: Bytes,
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Room {
    /// A public room of the first of `hosts`, with `members` spread over all of them, and state events to make it `events` in all.
    pub(crate) fn make(
        name: &str,
        hosts: &[Arc<Host>],
        members: usize,
        events: usize,
    ) -> Result<Self, Failure> {
        let first = hosts.first().ok_or("a room without servers")?;
        let servers: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
        let mut room = Self {
            id: RoomId::parse(format!("!{name}:{}", first.name))?,
            version: RoomVersion::parse(VERSION).ok_or("an unknown room version")?,
            events: Vec::with_capacity(events),
            places: HashMap::new(),
            state: BTreeMap::new(),
            servers: serde_json::to_string(&servers)?,
            told: None,
        };
        let of = |number: usize| &*hosts[number % hosts.len()];
        let moderators = MODERATORS.min(members);
        let mut powers: BTreeMap<_, _> = (1..moderators)
            .map(|number| (member(of(number), number), 50))
            .collect();
        powers.insert(member(first, 0), 100);
        let creator = (&**first, 0);
        room.add(
            creator,
            "m.room.create",
            Some(""),
            json!({ "room_version": VERSION }),
        )?;
        room.come(creator)?;
        room.add(
            creator,
            "m.room.power_levels",
            Some(""),
            json!({ "users": powers, "state_default": 50, "events_default": 0, "users_default": 0 }),
        )?;
        for (kind, field, value) in [
            ("m.room.join_rules", "join_rule", "public"),
            ("m.room.history_visibility", "history_visibility", "shared"),
            ("m.room.name", "name", name),
        ] {
            room.add(creator, kind, Some(""), json!({ field: value }))?;
        }
        for number in 1..members {
            room.come((of(number), number))?;
        }
        for number in 0..events.saturating_sub(room.events.len()) {
            let moderator = number % moderators;
            let content = json!({ "text": format!("What is to be said of the matter {number}."), "colour": "#2a62d2" });
            let key = format!("matter-{number}");
            room.add(
                (of(moderator), moderator),
                "org.example.matter",
                Some(&key),
                content,
            )?;
        }
        room.told = Some(Told {
            whole: room.told(false).into(),
            without_members: room.told(true).into(),
        });
        Ok(room)
    }

    fn come(&mut self, who: (&Host, usize)) -> Result<(), Failure> {
        let content = json!({
            "membership": "join",
            "displayname": format!("Member {}", who.1),
            "avatar_url": format!("mxc://{}/{:024}", who.0.name, who.1),
        });
        let key = member(who.0, who.1);
        self.add(who, "m.room.member", Some(&key), content)
            .map(drop)
    }

    /// A text of a member, by the server and the number of the member.
    pub(crate) fn say(&mut self, who: (&Host, usize), text: &str) -> Result<Arc<Pdu>, Failure> {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.add(who, "m.room.message", None, content)
    }

    fn add(
        &mut self,
        (host, number): (&Host, usize),
        kind: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Result<Arc<Pdu>, Failure> {
        let sender = OwnedUserId::try_from(member(host, number))?;
        let now = MilliSecondsSinceUnixEpoch(UInt::new_saturating(now()));
        let mut draft = Draft::new(sender.clone(), kind, to_raw_value(&content)?, now);
        draft.room_id = Some(self.id.clone());
        draft.state_key = state_key.map(str::to_owned);
        draft.depth = self.depth();
        draft.prev_events = self.head().map(ToOwned::to_owned).into_iter().collect();
        draft.auth_events = self.vouching(sender.as_str(), kind == "m.room.member");
        let pdu = Arc::new(seal(draft, self.version, &host.key)?);
        self.take(pdu.clone());
        Ok(pdu)
    }

    fn take(&mut self, pdu: Arc<Pdu>) {
        let place = self.events.len();
        if let Some(key) = pdu.state_key() {
            let key = (pdu.event_type().to_owned(), key.to_owned());
            self.state.insert(key, place);
        }
        self.places.insert(pdu.event_id().to_owned(), place);
        self.events.push(pdu);
    }

    fn depth(&self) -> Depth {
        self.events
            .last()
            .map_or(Depth(1), |last| last.depth().next())
    }

    fn head(&self) -> Option<&EventId> {
        self.events.last().map(|last| last.event_id())
    }

    /// What vouches for an event of `sender`.
    fn vouching(&self, sender: &str, joins: bool) -> Vec<OwnedEventId> {
        let mut wanted = vec![
            ("m.room.create", ""),
            ("m.room.power_levels", ""),
            ("m.room.member", sender),
        ];
        if joins {
            wanted.push(("m.room.join_rules", ""));
        }
        let found = wanted
            .into_iter()
            .filter_map(|(kind, key)| self.state.get(&(kind.to_owned(), key.to_owned())));
        found
            .map(|place| self.events[*place].event_id().to_owned())
            .collect()
    }

    /// A member event as another server is to sign it.
    pub(crate) fn template(&self, user: &str, membership: &str) -> Value {
        json!({
            "room_version": VERSION,
            "event": {
                "type": "m.room.member",
                "room_id": self.id,
                "sender": user,
                "state_key": user,
                "content": { "membership": membership },
                "prev_events": self.head().into_iter().collect::<Vec<_>>(),
                "auth_events": self.vouching(user, true),
                "depth": self.depth().0,
                "origin_server_ts": now(),
            },
        })
    }

    /// Lets somebody in with a join that another server signed; the answer for that server.
    pub(crate) fn admit(&mut self, join: &[u8], omit_members: bool) -> Result<Vec<u8>, Failure> {
        let pdu = Pdu::parse(join, self.version)?;
        let told = self.told.as_ref().ok_or("the room is not finished")?;
        let told = match omit_members {
            true => &told.without_members,
            false => &told.whole,
        };
        let mut answer = format!(
            "{{\"event\":{},\"members_omitted\":{omit_members},\"servers_in_room\":{},",
            pdu.json(),
            self.servers
        )
        .into_bytes();
        answer.extend_from_slice(told);
        answer.push(b'}');
        self.take(Arc::new(pdu));
        Ok(answer)
    }

    fn told(&self, omit_members: bool) -> String {
        let state: BTreeSet<usize> = self
            .state
            .values()
            .copied()
            .filter(|place| !omit_members || self.events[*place].event_type() != "m.room.member")
            .collect();
        let mut chain = self.chain(&state);
        if omit_members {
            // Who knows this form knows that what is in the state is not repeated.
            chain = &chain - &state;
        }
        format!(
            "\"state\":{},\"auth_chain\":{}",
            self.texts(&state),
            self.texts(&chain)
        )
    }

    /// The events that vouch for others, and for those, and so on.
    fn chain(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut chain = BTreeSet::new();
        let mut next: Vec<usize> = of.iter().copied().collect();
        while let Some(place) = next.pop() {
            for id in self.events[place].auth_events() {
                if let Some(place) = self.places.get(id)
                    && chain.insert(*place)
                {
                    next.push(*place);
                }
            }
        }
        chain
    }

    fn texts(&self, places: &BTreeSet<usize>) -> String {
        let texts: Vec<&str> = places
            .iter()
            .map(|place| self.events[*place].json())
            .collect();
        format!("[{}]", texts.join(","))
    }

    /// The state before an event, and what vouches for it.
    fn before(&self, id: &EventId) -> Option<(BTreeSet<usize>, BTreeSet<usize>)> {
        let end = *self.places.get(id)?;
        let mut state = BTreeMap::new();
        for (place, event) in self.events[..end].iter().enumerate() {
            if let Some(key) = event.state_key() {
                state.insert((event.event_type(), key), place);
            }
        }
        let state = state.into_values().collect();
        let chain = self.chain(&state);
        Some((state, chain))
    }

    /// The state before an event, as JSON.
    pub(crate) fn state(&self, id: &EventId) -> Option<String> {
        let (state, chain) = self.before(id)?;
        Some(format!(
            "{{\"pdus\":{},\"auth_chain\":{}}}",
            self.texts(&state),
            self.texts(&chain)
        ))
    }

    /// The ids of the same.
    pub(crate) fn state_ids(&self, id: &EventId) -> Option<Value> {
        let (state, chain) = self.before(id)?;
        let ids = |places: BTreeSet<usize>| -> Vec<&EventId> {
            places
                .into_iter()
                .map(|place| self.events[place].event_id())
                .collect()
        };
        Some(json!({ "pdu_ids": ids(state), "auth_chain_ids": ids(chain) }))
    }

    /// What vouches for an event, as JSON.
    pub(crate) fn event_auth(&self, id: &EventId) -> Option<String> {
        let chain = self.chain(&BTreeSet::from([*self.places.get(id)?]));
        Some(format!("{{\"auth_chain\":{}}}", self.texts(&chain)))
    }

    /// An event, as JSON.
    pub(crate) fn event(&self, id: &EventId) -> Option<&str> {
        Some(self.events[*self.places.get(id)?].json())
    }

    /// Up to `limit` events that lie before those in `latest` and after those in `earliest`, with those of `latest` themselves if
    /// `with_latest`; as JSON, the oldest first.
    pub(crate) fn between(
        &self,
        earliest: &[OwnedEventId],
        latest: &[OwnedEventId],
        limit: usize,
        with_latest: bool,
    ) -> String {
        let place = |id: &OwnedEventId| self.places.get(id).copied();
        let first = earliest
            .iter()
            .filter_map(place)
            .max()
            .map_or(0, |place| place + 1);
        let end = latest
            .iter()
            .filter_map(place)
            .max()
            .map_or(0, |place| place + usize::from(with_latest));
        let places = (first..end).rev().take(limit).collect();
        self.texts(&places)
    }
}

fn member(host: &Host, number: usize) -> String {
    host.user(&format!("member{number}"))
}
