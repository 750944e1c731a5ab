//! Owns the house in which the tests of this crate live: a store on disk, a clock that is moved by hand, users.

#![allow(clippy::unwrap_used, clippy::panic)]

mod alarming;
mod away;
mod creation;
mod healing;
mod history;
mod membership;
mod naming;
mod partial;
mod partial_ends;
mod policing;
mod purging;
mod queueing;
mod reading;
mod receiving;
mod recomputing;
mod redaction;
mod resident;
mod resolving;
mod restricted;
mod seeing;

use std::sync::Arc;

use hearth_base::{ManualClock, Millis, SeededRng};
use hearth_protocol::SigningKey;
use hearth_store::{
    MemoryHints, Store, View,
    engines::rocksdb,
    leases::{self, Held},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, UserId};
use serde_json::{Value, value::to_raw_value};

use crate::{Act, Error, MemberChange, NewEvent, NewRoom, Preset, Profile, Rooms};

pub(crate) struct House {
    pub(crate) rooms: Rooms,
    /// Another service over the same store, as another node would be.
    pub(crate) other: Rooms,
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::of("home")
    }

    /// The house of the server `name`.
    pub(crate) fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(rocksdb::Options::at(folder.path().join("store"))).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        let clock = ManualClock::at(Millis(1_000));
        let name = OwnedServerName::try_from(name).unwrap();
        let key = Arc::new(SigningKey::generate(&name, "ed25519:1", [1; 32]).unwrap());
        let service = |seed| {
            Rooms::new(
                store.clone(),
                Arc::new(clock.clone()),
                Arc::new(SeededRng::new(seed)),
                key.clone(),
                name.clone(),
                crate::Memory::default(),
            )
        };
        Self {
            rooms: service(1),
            other: service(2),
            store,
            clock: clock.clone(),
            _folder: folder,
        }
    }

    /// A lease, for work that asserts one.
    pub(crate) async fn lease(&self) -> Held {
        let about = leases::About::default();
        let node = leases::NodeId([1; 8]);
        let own = leases::Leases::join(self.store.clone(), node, about);
        let own = own.await.unwrap();
        let mut kept = own.keep("work");
        leases::held(&mut kept).await.unwrap()
    }

    pub(crate) async fn view(&self) -> View {
        self.store.view().await.unwrap()
    }

    /// A room of this preset, made by `@alice`.
    pub(crate) async fn room(&self, preset: Preset) -> OwnedRoomId {
        let mut room = NewRoom::by(user("alice"));
        room.preset = Some(preset);
        self.rooms.create(room).await.unwrap()
    }

    /// A public room in which all of them are joined, `@alice` its maker first.
    pub(crate) async fn company(&self, names: &[&str]) -> OwnedRoomId {
        let room_id = self.room(Preset::PublicChat).await;
        for name in &names[1..] {
            self.join(&room_id, name).await.unwrap();
        }
        room_id
    }

    pub(crate) async fn join(&self, room: &OwnedRoomId, name: &str) -> Result<OwnedEventId, Error> {
        self.rooms
            .join(room.clone(), user(name), Profile::default())
            .await
    }

    pub(crate) async fn act(
        &self,
        room: &OwnedRoomId,
        by: &str,
        to: &str,
        act: Act,
    ) -> Result<OwnedEventId, Error> {
        let change = MemberChange::of(room.clone(), user(by), user(to), act);
        self.rooms.change_membership(change).await
    }

    pub(crate) async fn say(&self, room: &OwnedRoomId, by: &str, text: &str) -> OwnedEventId {
        let content = serde_json::json!({ "msgtype": "m.text", "body": text });
        self.send(room, by, "m.room.message", content)
            .await
            .unwrap()
    }

    pub(crate) async fn send(
        &self,
        room: &OwnedRoomId,
        by: &str,
        event_type: &str,
        content: Value,
    ) -> Result<OwnedEventId, Error> {
        let content = to_raw_value(&content).unwrap();
        let event = NewEvent::message(room.clone(), user(by), event_type, content);
        self.rooms.send(event).await
    }

    pub(crate) async fn set(
        &self,
        room: &OwnedRoomId,
        by: &str,
        event_type: &str,
        content: Value,
    ) -> Result<OwnedEventId, Error> {
        let content = to_raw_value(&content).unwrap();
        let event = NewEvent::state(room.clone(), user(by), event_type, "", content);
        self.rooms.send(event).await
    }

    /// The content of a current state event.
    pub(crate) async fn content(&self, room: &OwnedRoomId, event_type: &str) -> Value {
        let view = self.view().await;
        let head = self.rooms.head(&view, room).await.unwrap().unwrap();
        let event = self
            .rooms
            .state_event(&view, &head, head.state, event_type, "")
            .await
            .unwrap();
        event.map_or(Value::Null, |event| {
            serde_json::from_str(event.pdu.content().get()).unwrap()
        })
    }
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:home")).unwrap()
}

pub(crate) fn is_forbidden<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Forbidden(_)))
}
