//! What comes from other servers: which events are taken, which are rejected or soft-failed, and where branches meet.

use std::sync::Arc;

use hearth_protocol::{Depth, Draft, Pdu, RoomVersion, SigningKey, federation_json, seal};
use hearth_store::View;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, UInt, UserId, server_name,
    user_id,
};
use serde_json::{Value, json, value::to_raw_value};

use super::{House, away::Away};
use crate::{Membership, Preset, RemoteTransaction, StoredEvent};

/// A room of `@alice:home` in which `@bob:away` is, and what the server of `@bob` can send to it.
pub(super) struct Shared {
    pub(super) house: House,
    pub(super) room: OwnedRoomId,
    key: SigningKey,
    pub(super) away: Arc<Away>,
}

/// An event of the other server that is to be made.
pub(super) struct Made<'a> {
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: Value,
    pub(super) after: &'a [&'a Pdu],
    /// The state events that it names, by type and state key.
    pub(super) names: &'a [(&'a str, &'a str)],
}

pub(super) const BOB: &str = "@bob:away";

pub(super) fn bob() -> OwnedUserId {
    user_id!("@bob:away").to_owned()
}

impl Shared {
    pub(super) async fn open() -> Self {
        let house = House::open();
        let away = Arc::new(Away::default());
        house.rooms.connect(away.clone());
        let room = house.room(Preset::PublicChat).await;
        let key = SigningKey::generate(server_name!("away"), "ed25519:1", [9; 32]).unwrap();
        let shared = Self {
            house,
            room,
            key,
            away,
        };
        let draft = shared
            .house
            .rooms
            .draft_for(
                server_name!("away"),
                &shared.room,
                &bob(),
                Membership::Join,
                None,
            )
            .await
            .unwrap();
        let content = to_raw_value(&json!({ "membership": "join" })).unwrap();
        let join = hearth_protocol::MemberDraft {
            room_id: shared.room.clone(),
            user: bob(),
            content,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(2_000_u32)),
            local_id: "x".to_owned(),
        };
        let join =
            hearth_protocol::seal_template(&draft.event, join, draft.version, &shared.key).unwrap();
        let json = federation_json(&join);
        let (away, room) = (server_name!("away"), &shared.room);
        let admitted = shared
            .house
            .rooms
            .admit(away, room, join.event_id(), &json, Membership::Join, false)
            .await
            .unwrap();
        assert!(
            admitted
                .state
                .state
                .iter()
                .any(|event| event.pdu.is("m.room.create", ""))
        );
        shared
    }

    pub(super) async fn view(&self) -> View {
        self.house.view().await
    }

    pub(super) async fn head(&self) -> crate::Head {
        let view = self.view().await;
        self.house
            .rooms
            .head(&view, &self.room)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn stored(&self, id: &EventId) -> Option<Arc<StoredEvent>> {
        let view = self.view().await;
        self.house.rooms.event(&view, id).await.unwrap()
    }

    /// The newest event of the room.
    pub(super) async fn newest(&self) -> Pdu {
        let head = self.head().await;
        self.stored(head.extremities.last().unwrap())
            .await
            .unwrap()
            .pdu
            .clone()
    }

    pub(super) async fn make(&self, made: Made<'_>) -> Pdu {
        self.make_by(&bob(), made).await
    }

    /// As [`Shared::make`], by any user of the other server.
    pub(super) async fn make_by(&self, sender: &UserId, made: Made<'_>) -> Pdu {
        let (view, head) = (self.view().await, self.head().await);
        let content = to_raw_value(&made.content).unwrap();
        let depths = made.after.iter().map(|pdu| pdu.depth());
        let depth = depths.max().unwrap_or_default().0 + 1;
        // Later than what it follows.
        let time = UInt::new_saturating(3_000 + depth);
        let mut draft = Draft::new(
            sender.to_owned(),
            made.event_type,
            content,
            MilliSecondsSinceUnixEpoch(time),
        );
        draft.room_id = Some(self.room.clone());
        draft.state_key = made.state_key.map(str::to_owned);
        draft.prev_events = made
            .after
            .iter()
            .map(|pdu| pdu.event_id().to_owned())
            .collect();
        draft.depth = Depth(depth);
        for (event_type, state_key) in made.names {
            let state = self
                .house
                .rooms
                .state_event(&view, &head, head.state, event_type, state_key)
                .await
                .unwrap();
            draft
                .auth_events
                .extend(state.map(|event| event.event_id().to_owned()));
        }
        seal(draft, head.version, &self.key).unwrap()
    }

    /// Three states of Bob's, who may set them, none of which follows another. Not sent yet.
    pub(super) async fn branches(&self) -> Vec<Pdu> {
        let levels = json!({ "users": { BOB: 60 }, "state_default": 50, "events": {} });
        let set = self
            .house
            .set(&self.room, "alice", "m.room.power_levels", levels);
        set.await.unwrap();
        let fork = self.newest().await;
        let mut branches = Vec::new();
        for event_type in ["a", "b", "c"] {
            let branch = Made {
                event_type,
                state_key: Some(""),
                content: json!({}),
                after: &[&fork],
                names: &[("m.room.power_levels", ""), ("m.room.member", BOB)],
            };
            branches.push(self.make(branch).await);
        }
        branches
    }

    pub(super) async fn message(&self, body: &str, after: &[&Pdu]) -> Pdu {
        self.make(Made {
            event_type: "m.room.message",
            state_key: None,
            content: json!({ "msgtype": "m.text", "body": body }),
            after,
            names: &[("m.room.power_levels", ""), ("m.room.member", BOB)],
        })
        .await
    }

    pub(super) async fn name(&self, name: &str, after: &[&Pdu]) -> Pdu {
        self.make(Made {
            event_type: "m.room.name",
            state_key: Some(""),
            content: json!({ "name": name }),
            after,
            names: &[("m.room.power_levels", ""), ("m.room.member", BOB)],
        })
        .await
    }

    /// Sends events and waits until they are worked off.
    pub(super) async fn send(&self, id: &str, events: &[&Pdu]) {
        let transaction = RemoteTransaction {
            origin: server_name!("away").to_owned(),
            id: id.to_owned(),
            events: events.iter().map(|pdu| federation_json(pdu)).collect(),
        };
        self.house.rooms.take_over(transaction).await.unwrap();
        for _ in 0..10_000 {
            let mut done = true;
            for pdu in events {
                done &= self.stored(pdu.event_id()).await.is_some();
            }
            if done {
                return;
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        panic!("the events are not worked off");
    }
}

#[tokio::test]
async fn allowed_events_are_news_and_others_are_kept_out_of_sight() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let good = shared.message("good", &[&newest]).await;
    let bad = shared
        .make(Made {
            event_type: "m.room.name",
            state_key: Some(""),
            content: json!({ "name": "mine" }),
            after: &[&good],
            names: &[("m.room.power_levels", ""), ("m.room.member", BOB)],
        })
        .await;
    shared.send("1", &[&good, &bad]).await;
    assert!(
        !shared
            .stored(good.event_id())
            .await
            .unwrap()
            .pdu
            .is_rejected()
    );
    assert!(
        shared
            .stored(bad.event_id())
            .await
            .unwrap()
            .pdu
            .is_rejected()
    );
    // Nor is it passed on to servers that ask for it.
    let (view, away) = (shared.view().await, server_name!("away"));
    let rooms = &shared.house.rooms;
    assert!(rooms.event_for(&view, away, good.event_id()).await.is_ok());
    let told = rooms.event_for(&view, away, bad.event_id()).await;
    assert!(matches!(told, Err(crate::Error::NotFound(_))), "{told:?}");
    assert_eq!(shared.head().await.extremities, [good.event_id()]);
    // Our next event follows what was allowed, and nothing else.
    let ours = shared.house.say(&shared.room, "alice", "ours").await;
    let ours = shared.stored(&ours).await.unwrap();
    assert_eq!(ours.pdu.prev_events(), [good.event_id()]);
    assert_eq!(
        shared.house.content(&shared.room, "m.room.name").await,
        Value::Null
    );
}

#[tokio::test]
async fn what_follows_a_refused_event_follows_what_that_one_followed() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    // One without rights, and one on it by way of another.
    let refused = shared.name("mine", &[&newest]).await;
    let again = shared.name("still mine", &[&refused]).await;
    let good = shared.message("good", &[&again]).await;
    shared.send("1", &[&refused, &again, &good]).await;
    for bad in [&refused, &again] {
        let bad = shared.stored(bad.event_id()).await.unwrap();
        assert!(bad.pdu.is_rejected());
    }
    assert_eq!(shared.head().await.extremities, [good.event_id()]);
}

#[tokio::test]
async fn what_the_room_no_longer_allows_is_soft_failed() {
    let shared = Shared::open().await;
    let before = shared.newest().await;
    let late = shared.message("late", &[&before]).await;
    shared
        .house
        .rooms
        .change_here(crate::MemberChange::of(
            shared.room.clone(),
            super::user("alice"),
            bob(),
            crate::Act::Ban,
        ))
        .await
        .unwrap();
    let ban = shared.newest().await;
    shared.send("1", &[&late]).await;
    let stored = shared.stored(late.event_id()).await.unwrap();
    assert!(stored.soft_failed && !stored.pdu.is_rejected());
    assert_eq!(shared.head().await.extremities, [ban.event_id()]);
}

#[tokio::test]
async fn branches_meet_in_one_state_whatever_came_first() {
    let shared = Shared::open().await;
    let levels = json!({ "users": { BOB: 60 }, "state_default": 50, "events": {} });
    shared
        .house
        .set(&shared.room, "alice", "m.room.power_levels", levels)
        .await
        .unwrap();
    let fork = shared.newest().await;
    let theirs = shared.name("theirs", &[&fork]).await;
    let topic = json!({ "topic": "ours" });
    shared
        .house
        .set(&shared.room, "alice", "m.room.topic", topic.clone())
        .await
        .unwrap();
    shared.send("1", &[&theirs]).await;
    let head = shared.head().await;
    assert_eq!(head.extremities.len(), 2);
    assert_eq!(
        shared.house.content(&shared.room, "m.room.name").await["name"],
        "theirs"
    );
    assert_eq!(
        shared.house.content(&shared.room, "m.room.topic").await,
        topic
    );
    let ours = shared.house.say(&shared.room, "alice", "both").await;
    let ours = shared.stored(&ours).await.unwrap();
    assert_eq!(ours.pdu.prev_events().len(), 2);
    assert_eq!(ours.state_before, head.state);
    assert_eq!(shared.head().await.extremities, [ours.event_id()]);
}

#[tokio::test]
async fn a_transaction_is_taken_once_and_answered_the_same() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let good = shared.message("good", &[&newest]).await;
    shared.send("1", &[&good]).await;
    let again = RemoteTransaction {
        origin: server_name!("away").to_owned(),
        id: "1".to_owned(),
        events: Vec::new(),
    };
    let answer = shared.house.rooms.take_over(again).await.unwrap();
    assert_eq!(answer.keys().collect::<Vec<_>>(), [good.event_id()]);
    let unknown = RemoteTransaction {
        origin: server_name!("away").to_owned(),
        id: "2".to_owned(),
        events: vec![to_raw_value(&json!({ "room_id": "!other:away" })).unwrap()],
    };
    assert!(
        shared
            .house
            .rooms
            .take_over(unknown)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_access_list_keeps_servers_out() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let list = json!({ "allow": ["*"], "deny": ["away"] });
    shared
        .house
        .set(&shared.room, "alice", "m.room.server_acl", list)
        .await
        .unwrap();
    let message = shared.message("x", &[&newest]).await;
    let transaction = RemoteTransaction {
        origin: server_name!("away").to_owned(),
        id: "1".to_owned(),
        events: vec![federation_json(&message)],
    };
    let answer = shared.house.rooms.take_over(transaction).await.unwrap();
    assert!(answer[message.event_id()].is_err());
    let away = server_name!("away");
    let (view, rooms) = (shared.view().await, &shared.house.rooms);
    assert!(super::is_forbidden(
        &rooms.head_for(&view, away, &shared.room).await
    ));
}

#[tokio::test]
async fn the_state_that_another_server_tells_is_judged_event_by_event() {
    for version in RoomVersion::ALL {
        let (here, there) = (House::open(), House::open());
        there.rooms.connect(Arc::new(Away::default()));
        let mut room = crate::NewRoom::by(super::user("alice"));
        room.preset = Some(Preset::PublicChat);
        room.version = Some(version);
        room.alias = Some("lobby".to_owned());
        let room = here.rooms.create(room).await.unwrap();
        let view = here.view().await;
        let head = here.rooms.head(&view, &room).await.unwrap().unwrap();
        let told = here.rooms.state_of(&view, &head, head.state).await.unwrap();
        let sent: Vec<_> = told
            .state
            .iter()
            .map(|event| federation_json(&event.pdu))
            .collect();
        let read = there
            .rooms
            .read_events(&room, version, &sent)
            .await
            .unwrap();
        assert_eq!(read.len(), told.state.len());
        let view = there.view().await;
        let judged = there
            .rooms
            .judge_outliers(&view, version, read)
            .await
            .unwrap();
        assert_eq!(judged.len(), told.state.len());
        for pdu in judged {
            assert!(!pdu.is_rejected(), "{version}: {pdu:?}");
        }
    }
}

#[tokio::test]
async fn a_gap_with_many_ends_does_not_ask_for_as_many_states() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let mut gap = Vec::new();
    for number in 0..40 {
        let (unknown, told) = (format!("unknown {number}"), format!("told {number}"));
        let unknown = shared.message(&unknown, &[&newest]).await;
        gap.push(shared.message(&told, &[&unknown]).await);
    }
    let last = shared.message("last", &[&gap[0]]).await;
    let told = gap.iter().map(federation_json).collect();
    *shared.away.before.lock() = told;
    let transaction = RemoteTransaction {
        origin: server_name!("away").to_owned(),
        id: "gap".to_owned(),
        events: vec![federation_json(&last)],
    };
    shared.house.rooms.take_over(transaction).await.unwrap();
    while shared.house.rooms.is_working() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let asked = &shared.away.asked_for_states;
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 20);
    assert!(shared.stored(last.event_id()).await.is_none());
}

#[tokio::test]
async fn what_the_room_was_between_branches_that_came_together_can_be_read() {
    let shared = Shared::open().await;
    let branches = shared.branches().await;
    shared.send("1", &branches.iter().collect::<Vec<_>>()).await;
    let (view, head) = (shared.view().await, shared.head().await);
    // As a node reads it that took no part.
    let other = &shared.house.other;
    for (index, branch) in branches.iter().enumerate() {
        let event = shared.stored(branch.event_id()).await.unwrap();
        let after = other.current_after(&view, &event).await.unwrap();
        for (place, of) in branches.iter().enumerate() {
            let there = other.state_event(&view, &head, after, of.event_type(), "");
            assert_eq!(there.await.unwrap().is_some(), place <= index);
        }
    }
}
