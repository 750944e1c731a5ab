//! Owns what a hostile server makes up: events in others' names, events without rights, events that follow or name
//! anything. Must never touch the rooms of its own server: those go on as an honest one's.

use hearth_protocol::{Depth, Draft, Pdu, federation_json, seal};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, UInt};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    Failure,
    world::{USERS, World, nowhere},
};

impl World {
    /// The hostile server makes an event up and sends it to some of the others.
    pub(crate) async fn forge(&mut self, hostile: usize) -> Result<(), Failure> {
        let Some(pdu) = self.made_up(hostile).await? else {
            return Ok(());
        };
        let json = federation_json(&pdu);
        for index in 0..self.peers.len() {
            if self.pick(2) == 0 {
                let name = self.peers[index].name.clone();
                self.post(hostile, &name, json.clone());
            }
        }
        Ok(())
    }

    async fn made_up(&self, hostile: usize) -> Result<Option<Pdu>, Failure> {
        let rooms = &self.peers[hostile].rooms;
        let view = rooms.view().await?;
        let room_id = self.room()?;
        let Some(head) = rooms.head(&view, &room_id).await? else {
            return Ok(None);
        };
        let state = rooms.full_state(&view, &head, head.state, None).await?;
        let known: Vec<OwnedEventId> = state
            .iter()
            .map(|event| event.event_id().to_owned())
            .collect();
        if known.is_empty() {
            return Ok(None);
        }
        let any = || known[self.pick(known.len())].clone();
        // Mostly its own users: in others' names nothing passes the signatures.
        let of = match self.pick(4) {
            0 => self.pick(self.peers.len()),
            _ => hostile,
        };
        let sender = self.user(of, self.pick(USERS))?;
        let (kind, state_key, content) = self.claim(&sender)?;
        let now = MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.now()));
        let mut draft = Draft::new(sender.clone(), kind, to_raw_value(&content)?, now);
        draft.room_id = Some(room_id);
        draft.state_key = state_key;
        draft.local_id = format!("f{}", self.step);
        draft.depth = Depth(1 + self.pick(200) as u64);
        draft.prev_events = match self.pick(4) {
            0 => vec![any()],
            1 => vec![nowhere(self)?],
            _ => head.extremities.clone(),
        };
        let vouching = [
            "m.room.create",
            "m.room.power_levels",
            "m.room.member",
            "m.room.join_rules",
        ];
        draft.auth_events = match self.pick(3) {
            0 => vec![any(), any()],
            _ => state
                .iter()
                .filter(|event| vouching.contains(&event.pdu.event_type()))
                .filter(|event| {
                    event.pdu.event_type() != "m.room.member"
                        || event.pdu.state_key() == Some(sender.as_str())
                })
                .map(|event| event.event_id().to_owned())
                .collect(),
        };
        if self.version.has_explicit_event_ids() {
            for id in draft.prev_events.iter().chain(&draft.auth_events) {
                let hash = match rooms.event(&view, id).await? {
                    Some(event) => hearth_protocol::reference_hash(&event.pdu, self.version)?,
                    None => "bm90aGluZw".to_owned(),
                };
                draft.reference_hashes.push((id.clone(), hash));
            }
        }
        // What is no event at all is not sent.
        Ok(seal(draft, self.version, &self.peers[hostile].key).ok())
    }

    fn now(&self) -> u64 {
        use hearth_base::Clock as _;
        self.clock.now().0
    }

    /// What the event says: that its sender rules the room, that somebody else is out, or nothing much.
    fn claim(
        &self,
        sender: &OwnedUserId,
    ) -> Result<(&'static str, Option<String>, Value), Failure> {
        let victim = self.user(self.pick(self.peers.len()), self.pick(USERS))?;
        let own = sender.to_string();
        Ok(match self.pick(6) {
            0 => {
                let content = json!({ "users": { own: 100 }, "users_default": 100 });
                ("m.room.power_levels", Some(String::new()), content)
            }
            1 => (
                "m.room.member",
                Some(victim.to_string()),
                json!({ "membership": "ban" }),
            ),
            2 => ("m.room.member", Some(own), json!({ "membership": "join" })),
            3 => (
                "m.room.join_rules",
                Some(String::new()),
                json!({ "join_rule": "private" }),
            ),
            4 => (
                "m.room.topic",
                Some(String::new()),
                json!({ "topic": "forged" }),
            ),
            _ => ("m.room.message", None, json!({ "body": "forged" })),
        })
    }
}
