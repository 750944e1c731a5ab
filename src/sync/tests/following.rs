//! A client that follows `/sync` and fills gaps by pages sees each event once, and has the state of the room.

use std::collections::BTreeMap;

use hearth_store::Direction;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::StateForm;

#[derive(Clone, Debug)]
enum Step {
    Say(usize),
    Topic,
    Name,
    /// Somebody joins or leaves.
    Move(usize),
    Sync(u32),
}

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dan"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize).prop_map(Step::Say),
        1 => Just(Step::Topic),
        1 => Just(Step::Name),
        1 => (2..4_usize).prop_map(Step::Move),
        2 => (1..5_u32).prop_map(Step::Sync),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a client has: its token, its events in order, its state.
#[derive(Default)]
struct Client {
    since: Option<Token>,
    events: Vec<OwnedEventId>,
    state: BTreeMap<(String, String), String>,
    form: StateForm,
    hides_state: bool,
}

impl Client {
    async fn sync(&mut self, house: &House, room: &OwnedRoomId, limit: u32) {
        let alice = session("alice");
        let mut timeline = json!({ "limit": limit });
        if self.hides_state {
            timeline["not_types"] = json!(["m.room.topic", "m.room.member"]);
        }
        let request = Request {
            since: self.since,
            state_form: self.form,
            ..with(json!({ "room": { "timeline": timeline } }))
        };
        let answer = house.sync.sync(alice.clone(), request).await.unwrap();
        let Some(joined) = answer.rooms.join.get(room) else {
            self.since = Some(answer.next_batch);
            return;
        };
        let timeline = &joined.timeline;
        if timeline.limited {
            self.fill(house, room, timeline.prev_batch).await;
        }
        for shown in &joined.state.events {
            self.set(shown.event());
        }
        for shown in &timeline.events {
            let event = shown.event();
            self.events.push(event.event_id().to_owned());
            if !self.form.is_after() {
                self.set(event);
            }
        }
        self.since = Some(answer.next_batch);
    }

    fn set(&mut self, event: &hearth_rooms::StoredEvent) {
        if let Some(key) = event.pdu.state_key() {
            let key = (event.pdu.event_type().to_owned(), key.to_owned());
            self.state.insert(key, event.event_id().to_string());
        }
    }

    /// Pages backward from the gap to what is known.
    async fn fill(&mut self, house: &House, room: &OwnedRoomId, from: Token) {
        let view = house.view().await;
        let mut from = house
            .rooms
            .place_at(&view, room, from.position)
            .await
            .unwrap();
        let to = match self.since {
            Some(since) => Some(
                house
                    .rooms
                    .place_at(&view, room, since.position)
                    .await
                    .unwrap(),
            ),
            None => None,
        };
        let mut missed = Vec::new();
        loop {
            let alice = user("alice");
            let hides = self.hides_state;
            let page = house
                .rooms
                .page(
                    &view,
                    &alice,
                    room,
                    (Some(from), to),
                    Direction::Backward,
                    3,
                    |event| {
                        !hides
                            || !["m.room.topic", "m.room.member"].contains(&event.pdu.event_type())
                    },
                )
                .await
                .unwrap();
            missed.extend(page.events.iter().map(|event| event.event_id().to_owned()));
            match page.end {
                Some(end) => from = end,
                None => break,
            }
        }
        missed.reverse();
        self.events.extend(missed);
    }
}

async fn follow(steps: Vec<Step>, form: StateForm, hides_state: bool) {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    let mut client = Client {
        form,
        hides_state,
        ..Client::default()
    };
    let mut inside = [true, true, false, false];
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Say(who) => {
                house.say(&room, NAMES[who], &number.to_string()).await;
            }
            Step::Topic => {
                let content = json!({ "topic": number.to_string() });
                house
                    .set(&room, "alice", ("m.room.topic", ""), content)
                    .await;
            }
            Step::Name => {
                let content = json!({ "name": number.to_string() });
                house
                    .set(&room, "alice", ("m.room.name", ""), content)
                    .await;
            }
            Step::Move(who) => {
                let act = if inside[who] { Act::Leave } else { Act::Join };
                inside[who] = !inside[who];
                house.act(&room, NAMES[who], NAMES[who], act).await;
            }
            Step::Sync(limit) => client.sync(&house, &room, limit).await,
        }
    }
    client.sync(&house, &room, 2).await;

    let view = house.view().await;
    let head = house.rooms.head(&view, &room).await.unwrap().unwrap();
    let all = house
        .rooms
        .timeline(
            &view,
            &room,
            hearth_store::Position::ZERO,
            view.position(),
            Direction::Forward,
            1000,
        )
        .await
        .unwrap();
    let expected: Vec<_> = all
        .iter()
        .filter(|event| {
            !hides_state || !["m.room.topic", "m.room.member"].contains(&event.pdu.event_type())
        })
        .map(|event| event.event_id().to_owned())
        .collect();
    assert_eq!(client.events, expected);
    let state = house
        .rooms
        .state_ids(&view, &head, head.state, None)
        .await
        .unwrap();
    let state: BTreeMap<_, _> = state
        .into_iter()
        .map(|(event_type, key, id)| ((event_type, key), id.to_string()))
        .collect();
    assert_eq!(client.state, state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_event_arrives_once(steps in steps(), after: bool, hides_state: bool) {
        let form = if after { StateForm::After } else { StateForm::Before };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(steps, form, hides_state));
    }
}
