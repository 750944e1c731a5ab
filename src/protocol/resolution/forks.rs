//! Owns the properties of state resolution, tried on rooms that random users change in branches that do not hear of each
//! other. Tests only.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ruma::UserId;
use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::{
    auth_types, check_state,
    scenario::{Sketch, draw},
};

/// One thing that somebody does in one branch of a room.
#[derive(Clone, Debug)]
struct Action {
    branch: usize,
    who: usize,
    whom: usize,
    what: u8,
    level: i32,
    at: u16,
}

prop_compose! {
    fn any_action()(
        branch in 0_usize..3, who in 0_usize..4, whom in 0_usize..4, what in 0_u8..7, level in 0_i32..101,
        at in any::<u16>(),
    ) -> Action {
        Action { branch, who, whom, what, level, at }
    }
}

const USERS: [&str; 4] = ["@alice:a", "@bob:b", "@carol:c", "@dave:d"];

/// A room in three branches. The events of each branch are allowed there.
struct Fork {
    version: RoomVersion,
    events: HashMap<OwnedEventId, Pdu>,
    names: HashMap<OwnedEventId, String>,
    branches: Vec<StateMap>,
}

impl Fork {
    fn new(version: RoomVersion) -> Self {
        let users = if version.has_hashed_room_ids() {
            json!({})
        } else {
            json!({"@alice:a": 100})
        };
        let start = json!([
            {"id": "create", "type": "m.room.create", "key": "", "sender": "@alice:a", "content": {}},
            {"id": "alice", "type": "m.room.member", "key": "@alice:a", "sender": "@alice:a",
             "content": {"membership": "join"}, "prev": ["create"]},
            {"id": "levels", "type": "m.room.power_levels", "key": "", "sender": "@alice:a",
             "content": {"users": users}},
            {"id": "rule", "type": "m.room.join_rules", "key": "", "sender": "@alice:a",
             "content": {"join_rule": "public"}},
        ]);
        let branches = vec![StateMap::new()];
        let mut fork = Self {
            version,
            events: HashMap::new(),
            names: HashMap::new(),
            branches,
        };
        for sketch in serde_json::from_value::<Vec<Sketch>>(start).unwrap() {
            fork.add(0, sketch);
        }
        assert_eq!(fork.branches[0].len(), 4);
        fork.branches = vec![fork.branches[0].clone(); 3];
        fork
    }

    /// Adds an event to a branch, with the auth events and the depth that it has there, if the branch allows it.
    fn add(&mut self, branch: usize, sketch: Sketch) {
        let state = &self.branches[branch];
        let key = (sketch.event_type.clone(), sketch.key.clone().unwrap());
        let content = RawValue::from_string(sketch.content.to_string()).unwrap();
        let sender = UserId::parse(&sketch.sender).unwrap();
        let types = auth_types(&key.0, &sender, Some(&key.1), &content, self.version).unwrap();
        let auth: Vec<OwnedEventId> = types
            .iter()
            .filter_map(|key| state.get(key).cloned())
            .collect();
        let depth = auth
            .iter()
            .map(|id| self.events[id].depth().0)
            .max()
            .unwrap_or_default()
            + 1;
        let auth = auth.iter().map(|id| self.names[id].clone()).collect();
        let sketch = Sketch {
            depth,
            auth,
            ..sketch
        };
        let event = draw(&sketch, self.version);
        let look_up = |event_type: &str, key: &str| {
            self.events
                .get(state.get(&(event_type.to_owned(), key.to_owned()))?)
                .cloned()
        };
        if check_state(self.version, &event, look_up).is_ok() {
            let id = event.event_id().to_owned();
            self.branches[branch].insert(key, id.clone());
            self.names.insert(id.clone(), sketch.id);
            self.events.insert(id, event);
        }
    }

    fn apply(&mut self, index: usize, action: &Action) {
        let (who, whom) = (USERS[action.who], USERS[action.whom]);
        let levels =
            &self.branches[action.branch][&("m.room.power_levels".to_owned(), String::new())];
        let mut levels: Value = serde_json::from_str(self.events[levels].content().get()).unwrap();
        let rule = if action.level > 50 {
            "public"
        } else {
            "invite"
        };
        let (event_type, key, content) = match action.what {
            0 => (
                "m.room.member",
                who,
                json!({"membership": "join", "displayname": index}),
            ),
            1 => ("m.room.member", whom, json!({"membership": "ban"})),
            2 => ("m.room.member", whom, json!({"membership": "leave"})),
            3 => ("m.room.member", whom, json!({"membership": "invite"})),
            4 => {
                levels["users"][whom] = action.level.into();
                ("m.room.power_levels", "", levels)
            }
            5 => ("m.room.join_rules", "", json!({"join_rule": rule})),
            _ => ("m.room.topic", "", json!({"topic": index})),
        };
        let sketch = json!({
            "id": format!("e{index}"), "type": event_type, "key": key, "sender": who, "content": content,
            "ts": action.at, "prev": ["before"],
        });
        self.add(action.branch, serde_json::from_value(sketch).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn resolution_does_not_depend_on_the_order_of_the_states(
        version in 0_usize..12, actions in prop::collection::vec(any_action(), 1..40),
    ) {
        let version = RoomVersion::ALL[version];
        let mut fork = Fork::new(version);
        for (index, action) in actions.iter().enumerate() {
            fork.apply(index, action);
        }
        let fetch = |id: &EventId| fork.events.get(id).cloned();
        let mut states = fork.branches.clone();
        let resolved = resolve_whole(version, &states, fetch).unwrap();
        for turn in 0..3 {
            states.rotate_left(1);
            prop_assert_eq!(&resolve_whole(version, &states, fetch).unwrap(), &resolved, "turn {}", turn);
        }
        states.reverse();
        prop_assert_eq!(&resolve_whole(version, &states, fetch).unwrap(), &resolved);

        // Nothing is made up, every event sits at its own key, and what all agree on stays.
        for (key, id) in &resolved {
            prop_assert!(fork.events[id].is(&key.0, &key.1));
        }
        for (key, id) in &fork.branches[0] {
            if fork.branches.iter().all(|state| state.get(key) == Some(id)) {
                prop_assert_eq!(resolved.get(key), Some(id));
            }
        }
    }
}
