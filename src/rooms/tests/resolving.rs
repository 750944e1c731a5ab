//! Where branches meet: what comes out is what the algorithm says of the whole states, and what is agreed is looked at as little
//! as that allows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use hearth_protocol::{
    Depth, Draft, Pdu, RoomVersion, SigningKey, StateMap, auth_types, reference_hash,
    resolve_whole, seal,
};
use proptest::prelude::*;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, UInt, UserId, room_id, server_name};
use serde_json::{Value, json, value::to_raw_value};
use tokio::runtime::Runtime;

use super::House;
use crate::{StoredEvent, plan::Plan, receive::Resolution, state::Root};

mod large;

static HOUSE: LazyLock<(Runtime, House)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let house = runtime.block_on(async { House::open() });
    (runtime, house)
});

/// The events of a room that nobody committed, and states of them.
struct Scene {
    plan: Plan,
    key: SigningKey,
    version: RoomVersion,
    events: HashMap<OwnedEventId, Pdu>,
}

fn key(event_type: &str, state_key: &str) -> (String, String) {
    (event_type.to_owned(), state_key.to_owned())
}

impl Scene {
    /// A public room of alice's, and its state.
    async fn open(house: &House, version: RoomVersion) -> (Self, StateMap) {
        let room_id = (!version.has_hashed_room_ids()).then(|| room_id!("!r:home").to_owned());
        let plan = Plan::create(&house.rooms, version, room_id).await.unwrap();
        let mut scene = Self {
            plan,
            key: SigningKey::generate(server_name!("home"), "ed25519:1", [1; 32]).unwrap(),
            version,
            events: HashMap::new(),
        };
        let mut state = StateMap::new();
        let create = json!({ "room_version": version.to_string(), "creator": "@alice:home" });
        scene.set(&mut state, "alice", "m.room.create", "", create);
        let join = json!({ "membership": "join" });
        scene.set(&mut state, "alice", "m.room.member", "@alice:home", join);
        let levels = scene.levels(&json!({}));
        scene.set(&mut state, "alice", "m.room.power_levels", "", levels);
        let rule = json!({ "join_rule": "public" });
        scene.set(&mut state, "alice", "m.room.join_rules", "", rule);
        (scene, state)
    }

    /// Power levels of these users and of alice.
    fn levels(&self, users: &Value) -> Value {
        let mut users = users.clone();
        if !self.version.has_hashed_room_ids() {
            users["@alice:home"] = 100.into();
        }
        json!({ "users": users, "state_default": 50, "events": { "seat": 0 } })
    }

    /// An event by `sender`, with the auth events that it has in `state`, put into that.
    fn set(&mut self, state: &mut StateMap, sender: &str, kind: &str, at: &str, content: Value) {
        let event = self.make(&[state], sender, kind, at, &content);
        state.insert(key(kind, at), event);
    }

    /// An event whose auth events are those of several states in turn.
    fn make(
        &mut self,
        states: &[&StateMap],
        sender: &str,
        kind: &str,
        at: &str,
        content: &Value,
    ) -> OwnedEventId {
        let sender = UserId::parse(format!("@{sender}:home")).unwrap();
        let content = to_raw_value(content).unwrap();
        let types = auth_types(kind, &sender, Some(at), &content, self.version).unwrap();
        let count = u32::try_from(self.events.len()).unwrap();
        let time = MilliSecondsSinceUnixEpoch(UInt::from(1_000 + count / 3));
        let mut draft = Draft::new(sender, kind, content, time);
        draft.room_id.clone_from(&self.plan.room_id);
        draft.state_key = Some(at.to_owned());
        draft.depth = Depth(u64::from(count) + 1);
        draft.local_id = format!("e{count}");
        for (turn, key) in types.iter().enumerate() {
            draft
                .auth_events
                .extend(states[turn % states.len()].get(key).cloned());
        }
        if self.version.has_explicit_event_ids() {
            for id in &draft.auth_events {
                let hash = reference_hash(&self.events[id], self.version).unwrap();
                draft.reference_hashes.push((id.clone(), hash));
            }
        }
        let pdu = seal(draft, self.version, &self.key).unwrap();
        let id = pdu.event_id().to_owned();
        self.plan.room_id = Some(pdu.room_id().to_owned());
        let stored = StoredEvent::outlier(pdu.clone(), self.version);
        self.plan.fresh.insert(id.clone(), stored.into());
        self.events.insert(id.clone(), pdu);
        id
    }

    async fn root(&mut self, state: &StateMap) -> Root {
        let entry = |((kind, at), id): (&(String, String), &OwnedEventId)| {
            (kind.clone(), at.clone(), Some(id.clone()))
        };
        let entries: Vec<_> = state.iter().map(entry).collect();
        self.plan.updated(Root::EMPTY, &entries).await.unwrap()
    }

    async fn resolve(
        &mut self,
        states: &[StateMap],
    ) -> (Resolution, BTreeMap<(String, String), OwnedEventId>) {
        let mut roots = Vec::new();
        for state in states {
            roots.push(self.root(state).await);
        }
        let resolution = self.plan.resolution(&roots).await.unwrap();
        let entries = self.plan.state_ids(resolution.state).await.unwrap();
        let entries = entries.into_iter().map(|(kind, at, id)| ((kind, at), id));
        (resolution, entries.collect())
    }

    fn whole(&self, states: &[StateMap]) -> BTreeMap<(String, String), OwnedEventId> {
        let fetch = |id: &EventId| self.events.get(id).cloned();
        let resolved = resolve_whole(self.version, states, fetch).unwrap();
        resolved.into_iter().collect()
    }
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// What somebody does on a branch, or before there are any.
#[derive(Clone, Debug)]
struct Action {
    branch: usize,
    /// The branch that some of its auth events come from.
    names: usize,
    who: usize,
    whom: usize,
    what: u8,
    level: i32,
}

prop_compose! {
    fn any_action()(
        branch in 0_usize..4, strays in 0_usize..6, names in 0_usize..4, who in 0_usize..4, whom in 0_usize..4,
        what in 0_u8..9, level in 0_i32..101,
    ) -> Action {
        Action { branch, names: if strays == 0 { names } else { branch }, who, whom, what, level }
    }
}

fn act(scene: &mut Scene, states: &mut [StateMap], action: &Action) {
    let (branch, names) = (action.branch % states.len(), action.names % states.len());
    let (who, whom) = (USERS[action.who], format!("@{}:home", USERS[action.whom]));
    let own = format!("@{who}:home");
    let mark = scene.events.len();
    let rule = if action.level > 30 {
        "public"
    } else {
        "invite"
    };
    let (kind, at, content) = match action.what {
        0 | 1 => (
            "m.room.member",
            own,
            json!({ "membership": "join", "displayname": mark }),
        ),
        2 => ("m.room.member", whom, json!({ "membership": "ban" })),
        3 => ("m.room.member", whom, json!({ "membership": "leave" })),
        4 => ("m.room.member", whom, json!({ "membership": "invite" })),
        5 => {
            let mut users = json!({});
            users[whom] = action.level.into();
            ("m.room.power_levels", String::new(), scene.levels(&users))
        }
        6 => (
            "m.room.join_rules",
            String::new(),
            json!({ "join_rule": rule, "mark": mark }),
        ),
        7 => ("seat", own, json!({ "mark": mark })),
        _ => (
            "m.room.topic",
            String::new(),
            json!({ "topic": mark.to_string() }),
        ),
    };
    let from = [&states[branch], &states[names]];
    let event = scene.make(&from, who, kind, &at, &content);
    states[branch].insert(key(kind, &at), event);
}

/// A state that no history led to: at each entry any event that was ever there, mostly that of `usual`.
fn mixed(scene: &Scene, usual: &StateMap, mut seed: u64) -> StateMap {
    let mut pool: BTreeMap<(String, String), Vec<OwnedEventId>> = BTreeMap::new();
    for pdu in scene.events.values() {
        let at = key(pdu.event_type(), pdu.state_key().unwrap());
        pool.entry(at).or_default().push(pdu.event_id().to_owned());
    }
    let mut state = usual.clone();
    for (at, mut events) in pool {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = usize::try_from(seed >> 40).unwrap();
        if pick % 3 == 0 && at.0 != "m.room.create" {
            events.sort_unstable();
            match events.get(pick / 3 % (events.len() + 1)) {
                Some(event) => state.insert(at, event.clone()),
                None => state.remove(&at),
            };
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_the_algorithm_says_of_whole_states(
        version in 0_usize..12,
        before in prop::collection::vec(any_action(), 0..12),
        after in prop::collection::vec(any_action(), 1..40),
        branches in 2_usize..5,
        seeds in prop::collection::vec(any::<u64>(), 0..3),
    ) {
        let (runtime, house) = &*HOUSE;
        runtime.block_on(async {
            let (mut scene, state) = Scene::open(house, RoomVersion::ALL[version]).await;
            let mut states = vec![state];
            for action in &before {
                act(&mut scene, &mut states, action);
            }
            states = vec![states[0].clone(); branches];
            for (turn, action) in after.iter().enumerate() {
                act(&mut scene, &mut states, action);
                // What is remembered of one search is of use to a later one.
                if turn % 8 == 0 {
                    let (_, resolved) = scene.resolve(&states).await;
                    prop_assert_eq!(resolved, scene.whole(&states));
                }
            }
            for seed in seeds {
                let mixed = mixed(&scene, &states[0], seed);
                states.push(mixed);
            }
            let (_, resolved) = scene.resolve(&states).await;
            prop_assert_eq!(resolved, scene.whole(&states));
            Ok(())
        })?;
    }
}

/// Two branches with power levels of their own, one of which rest on others; and those others, which only carol's agreed
/// membership still names, if she came then.
async fn behind(version: RoomVersion, carol_came: bool) -> (Resolution, bool) {
    let (_, house) = &*HOUSE;
    let (mut scene, mut state) = Scene::open(house, version).await;
    // A search behind all entries, for what a branch replaced itself; what it saw is remembered.
    let mut branch = state.clone();
    for name in ["one", "other"] {
        let named = json!({ "membership": "join", "displayname": name });
        scene.set(&mut branch, "alice", "m.room.member", "@alice:home", named);
    }
    let (before, _) = scene.resolve(&[branch, state.clone()]).await;
    assert_eq!(before.difference, 1);
    let mut aside = state.clone();
    let levels = scene.levels(&json!({ "@bob:home": 50 }));
    scene.set(&mut aside, "alice", "m.room.power_levels", "", levels);
    if carol_came {
        let join = json!({ "membership": "join" });
        let join = scene.make(&[&aside], "carol", "m.room.member", "@carol:home", &join);
        state.insert(key("m.room.member", "@carol:home"), join);
        aside.insert(
            key("m.room.member", "@carol:home"),
            state[&key("m.room.member", "@carol:home")].clone(),
        );
    }
    let (mut one, mut other) = (aside, state);
    let levels = scene.levels(&json!({ "@bob:home": 60 }));
    scene.set(&mut one, "alice", "m.room.power_levels", "", levels);
    let levels = scene.levels(&json!({ "@bob:home": 70 }));
    scene.set(&mut other, "alice", "m.room.power_levels", "", levels);
    let states = [one, other];
    let (resolution, resolved) = scene.resolve(&states).await;
    (resolution, resolved == scene.whole(&states))
}

#[test]
fn what_vouches_for_an_agreed_entry_alone_is_found() {
    let (runtime, _) = &*HOUSE;
    for version in &RoomVersion::ALL[1..] {
        for carol_came in [false, true] {
            let (resolution, is_right) = runtime.block_on(behind(*version, carol_came));
            assert!(is_right, "version {version}, {carol_came}");
            assert_eq!(resolution.entries, 1);
            assert_eq!(resolution.difference, usize::from(!carol_came));
        }
    }
}
