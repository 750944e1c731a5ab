//! Owns the house in which the tests of this crate live: a store on disk, a clock that is moved by hand, users with devices.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod counting;
mod following;
mod lazily;
mod listening;
mod sections;
mod timelines;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hearth_base::{Clock as _, ManualClock, Millis, SeededRng};
use hearth_protocol::SigningKey;
use hearth_rooms::{Act, MemberChange, NewEvent, NewRoom, Preset, Profile, Rooms, Transaction};
use hearth_store::{MemoryHints, Store, View, engines::rocksdb};
use hearth_users::{Limits, NewAccount, NewDevice, Session, Users};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, UserId, api::client::filter::FilterDefinition,
    events::AnyToDeviceEventContent, serde::Raw, server_name,
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{Request, Response, Sync, Token};

pub(crate) struct House {
    pub(crate) sync: Sync,
    pub(crate) rooms: Rooms,
    pub(crate) users: Users,
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(rocksdb::Options::at(folder.path().join("store"))).unwrap();
        let clock = ManualClock::at(Millis(1_000_000));
        let hours = clock.clone();
        let store = Store::new(engine, Arc::new(MemoryHints::new(move || hours.now().0)));
        let name = server_name!("home").to_owned();
        let key = Arc::new(SigningKey::generate(&name, "ed25519:1", [1; 32]).unwrap());
        let (time, rng) = (Arc::new(clock.clone()), Arc::new(SeededRng::new(1)));
        let rooms = Rooms::new(
            store.clone(),
            time.clone(),
            rng.clone(),
            key,
            name.clone(),
            hearth_rooms::Memory::default(),
        );
        let users = Users::new(store.clone(), time.clone(), rng, name, Limits::default());
        Self {
            sync: Sync::new(store.clone(), rooms.clone(), users.clone(), time),
            rooms,
            users,
            store,
            clock,
            _folder: folder,
        }
    }

    pub(crate) async fn view(&self) -> View {
        self.store.view().await.unwrap()
    }

    /// A new account, logged in on the device `D`.
    pub(crate) async fn account(&self, name: &str) -> Session {
        let device = NewDevice {
            device_id: Some("D".into()),
            display_name: None,
            refreshable: false,
        };
        let account = NewAccount::new(user(name), None);
        self.users.register(account, Some(device)).await.unwrap();
        session(name)
    }

    /// A public room in which all of them are joined, the first its maker.
    pub(crate) async fn company(&self, names: &[&str]) -> OwnedRoomId {
        let mut room = NewRoom::by(user(names[0]));
        room.preset = Some(Preset::PublicChat);
        let room = self.rooms.create(room).await.unwrap();
        for name in &names[1..] {
            self.act(&room, name, name, Act::Join).await;
        }
        room
    }

    pub(crate) async fn act(&self, room: &OwnedRoomId, by: &str, to: &str, act: Act) {
        if act == Act::Join {
            let join = self.rooms.join(room.clone(), user(by), Profile::default());
            join.await.unwrap();
            return;
        }
        let change = MemberChange::of(room.clone(), user(by), user(to), act);
        self.rooms.change_membership(change).await.unwrap();
    }

    pub(crate) async fn say(&self, room: &OwnedRoomId, by: &str, text: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.send(room, by, "m.room.message", content).await
    }

    pub(crate) async fn send(
        &self,
        room: &OwnedRoomId,
        by: &str,
        event_type: &str,
        content: Value,
    ) -> OwnedEventId {
        let content = to_raw_value(&content).unwrap();
        let mut event = NewEvent::message(room.clone(), user(by), event_type, content);
        event.transaction = Some(Transaction {
            user: user(by),
            device: "D".into(),
            id: format!("txn{}", self.view().await.position()),
        });
        self.rooms.send(event).await.unwrap()
    }

    pub(crate) async fn set(
        &self,
        room: &OwnedRoomId,
        by: &str,
        (event_type, state_key): (&str, &str),
        content: Value,
    ) -> OwnedEventId {
        let content = to_raw_value(&content).unwrap();
        let event = NewEvent::state(room.clone(), user(by), event_type, state_key, content);
        self.rooms.send(event).await.unwrap()
    }

    /// A message from one's device to the other's.
    pub(crate) async fn tell(&self, from: &str, to: &str, number: usize) {
        let content: Raw<AnyToDeviceEventContent> =
            Raw::from_json(to_raw_value(&json!({ "number": number })).unwrap());
        let target = serde_json::from_value(json!("D")).unwrap();
        let messages = BTreeMap::from([(user(to), BTreeMap::from([(target, content)]))]);
        let transaction = format!("t{number}");
        self.users
            .send_to_device(
                (&user(from), "D".into()),
                "m.test",
                transaction.as_str().into(),
                &messages,
            )
            .await
            .unwrap();
    }

    pub(crate) async fn look(&self, session: &Session, request: Request) -> (Token, Value) {
        let answer = self.sync.sync(session.clone(), request).await.unwrap();
        (answer.next_batch, shown(&answer))
    }

    /// All there is.
    pub(crate) async fn first(&self, session: &Session) -> (Token, Value) {
        self.look(session, Request::default()).await
    }

    /// What is new.
    pub(crate) async fn next(&self, session: &Session, since: Token) -> (Token, Value) {
        self.look(session, since_with(since, json!({}))).await
    }
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:home")).unwrap()
}

pub(crate) fn session(name: &str) -> Session {
    Session {
        user_id: user(name),
        device_id: "D".into(),
        admin: false,
        guest: false,
        locked: false,
        suspended: false,
    }
}

pub(crate) fn filter(filter: Value) -> Box<FilterDefinition> {
    serde_json::from_value(filter).unwrap()
}

pub(crate) fn with(definition: Value) -> Request {
    Request {
        filter: filter(definition),
        ..Request::default()
    }
}

pub(crate) fn since_with(since: Token, definition: Value) -> Request {
    Request {
        since: Some(since),
        ..with(definition)
    }
}

pub(crate) fn polling(since: Token, timeout: Duration) -> Request {
    Request {
        timeout,
        ..since_with(since, json!({}))
    }
}

pub(crate) fn shown(answer: &Response) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// The events of a list in an answer.
pub(crate) fn events<'a>(answer: &'a Value, path: &str) -> &'a [Value] {
    let list = answer.pointer(path).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// A part of a joined room.
pub(crate) fn joined<'a>(answer: &'a Value, room: &OwnedRoomId) -> &'a Value {
    &answer["rooms"]["join"][room.as_str()]
}

/// The texts of the messages in a room's timeline.
pub(crate) fn texts(room: &Value) -> Vec<&str> {
    let texts = events(room, "/timeline/events").iter();
    texts
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

/// Type and state key of the events of a list.
pub(crate) fn keys<'a>(room: &'a Value, list: &str) -> Vec<(&'a str, &'a str)> {
    let keys = events(room, &format!("/{list}/events")).iter();
    keys.map(|event| {
        (
            event["type"].as_str().unwrap(),
            event["state_key"].as_str().unwrap(),
        )
    })
    .collect()
}

/// The users whose membership is in a room's state, in order.
pub(crate) fn members(room: &Value) -> Vec<&str> {
    let mut members: Vec<_> = keys(room, "state")
        .into_iter()
        .filter_map(|(kind, key)| (kind == "m.room.member").then_some(key))
        .collect();
    members.sort_unstable();
    members
}
