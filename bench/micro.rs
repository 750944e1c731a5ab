//! The hot path alone, step by step: `bench/micro.sh`. Each figure is of one thread and one operation; `commit` and `send`
//! wait for the disk.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a step that fails has no figure"
)]

use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use hearth_base::{Clock as _, SystemClock, SystemRng};
use hearth_protocol::{
    Depth, Draft, Pdu, RoomVersion, SigningKey, check_auth_events, check_state, parse_object, seal,
    to_text,
};
use hearth_rooms::{
    NewEvent, NewRoom, Preset, Profile, Rooms, Root,
    state::{Overlay, StateTree},
};
use hearth_store::{Batch, Family, MemoryHints, Position, Store, Table, engines::rocksdb};
use hearth_sync::{Request, Sync, Token};
use hearth_users::{Limits, NewAccount, NewDevice, Session, Users};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, UInt, UserId,
    server_name,
};
use serde_json::{json, value::to_raw_value};
use tokio::runtime::Runtime;

const NEWEST: RoomVersion = RoomVersion::ALL[RoomVersion::ALL.len() - 1];

fn main() {
    divan::main();
}

/// Members of the room that is looked at.
const MEMBERS: usize = 100;

static LOG: Table<Position, String> = Table::new(250, "bench_log", Family::Log);

/// A server without sockets, with one room.
struct House {
    runtime: Runtime,
    store: Store,
    rooms: Rooms,
    sync: Sync,
    session: Session,
    room: OwnedRoomId,
    _folder: tempfile::TempDir,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let engine = rocksdb::open(rocksdb::Options::at(folder.path().join("store"))).unwrap();
    let store = Store::new(engine, Arc::new(MemoryHints::new(|| SystemClock.now().0)));
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let name = server_name!("home").to_owned();
    let rooms = Rooms::new(
        store.clone(),
        clock.clone(),
        rng.clone(),
        Arc::new(key()),
        name.clone(),
        hearth_rooms::Memory::default(),
    );
    let users = Users::new(store.clone(), clock.clone(), rng, name, Limits::default());
    let (sync, session, room) = runtime.block_on(async {
        let sync = Sync::new(store.clone(), rooms.clone(), users.clone(), clock);
        let device = NewDevice {
            device_id: Some("D".into()),
            ..NewDevice::default()
        };
        let login = users
            .register(NewAccount::new(user(0), None), Some(device))
            .await
            .unwrap();
        let session = users
            .authenticate(&login.unwrap().access_token)
            .await
            .unwrap()
            .unwrap();
        let mut wanted = NewRoom::by(user(0));
        wanted.preset = Some(Preset::PublicChat);
        let room = rooms.create(wanted).await.unwrap();
        for number in 1..MEMBERS {
            rooms
                .join(room.clone(), user(number), Profile::default())
                .await
                .unwrap();
        }
        (sync, session, room)
    });
    House {
        runtime,
        store,
        rooms,
        sync,
        session,
        room,
        _folder: folder,
    }
});

fn key() -> SigningKey {
    SigningKey::generate(server_name!("home"), "ed25519:1", [1; 32]).unwrap()
}

fn user(number: usize) -> OwnedUserId {
    UserId::parse(format!("@user{number}:home")).unwrap()
}

fn message() -> NewEvent {
    let house = &*HOUSE;
    let content =
        to_raw_value(&json!({ "msgtype": "m.text", "body": "at seven at the station" })).unwrap();
    NewEvent::message(house.room.clone(), user(0), "m.room.message", content)
}

/// The message that the state of `HOUSE`'s room would allow, as a draft, with the state that it names.
fn draft() -> (Draft, Vec<Pdu>) {
    let house = &*HOUSE;
    let own = user(0);
    let wanted = [
        ("m.room.create", ""),
        ("m.room.power_levels", ""),
        ("m.room.member", own.as_str()),
    ];
    let state: Vec<Pdu> = house.runtime.block_on(async {
        let view = house.store.view().await.unwrap();
        let head = house.rooms.head(&view, &house.room).await.unwrap().unwrap();
        let mut state = Vec::new();
        for (kind, state_key) in wanted {
            let event = house
                .rooms
                .state_event(&view, &head, head.state, kind, state_key)
                .await;
            state.push(event.unwrap().unwrap().pdu.clone());
        }
        state
    });
    let event = message();
    let now = MilliSecondsSinceUnixEpoch(UInt::new_saturating(1_700_000_000_000));
    let mut draft = Draft::new(event.sender, event.event_type, event.content, now);
    draft.room_id = Some(house.room.clone());
    draft.depth = Depth(200);
    draft.auth_events = state.iter().map(|pdu| pdu.event_id().to_owned()).collect();
    draft.prev_events = vec![draft.auth_events[2].clone()];
    (draft, state)
}

#[divan::bench]
fn build_and_sign(bencher: Bencher<'_, '_>) {
    let ((draft, _), key) = (draft(), key());
    bencher
        .with_inputs(|| draft.clone())
        .bench_values(|draft| seal(draft, NEWEST, &key).unwrap());
}

#[divan::bench]
fn auth_check(bencher: Bencher<'_, '_>) {
    let (draft, state) = draft();
    let pdu = seal(draft, NEWEST, &key()).unwrap();
    bencher.bench(|| {
        let by_id = |id: &EventId| state.iter().find(|pdu| pdu.event_id() == id).cloned();
        check_auth_events(NEWEST, black_box(&pdu), by_id).unwrap();
        check_state(NEWEST, &pdu, |kind, state_key| {
            let is_it = |pdu: &&Pdu| pdu.event_type() == kind && pdu.state_key() == Some(state_key);
            state.iter().find(is_it).cloned()
        })
        .unwrap();
    });
}

#[divan::bench]
fn canonical_json(bencher: Bencher<'_, '_>) {
    let (draft, _) = draft();
    let json = seal(draft, NEWEST, &key()).unwrap().json().to_owned();
    bencher.bench(|| to_text(&parse_object(black_box(json.as_bytes())).unwrap()));
}

#[divan::bench]
fn commit(bencher: Bencher<'_, '_>) {
    let house = &*HOUSE;
    bencher.bench(|| {
        let mut batch = Batch::new();
        batch.append(&LOG, "as long as an event is".repeat(30));
        house.runtime.block_on(house.store.commit(batch)).unwrap()
    });
}

#[divan::bench(args = [100, 10_000])]
fn state_update(bencher: Bencher<'_, '_>, members: usize) {
    let house = &*HOUSE;
    let tree = StateTree::new(64 << 20);
    let id = |number: usize| -> OwnedEventId { EventId::parse(format!("${number:043}")).unwrap() };
    let entry = |number: usize, event: usize| {
        (
            "m.room.member".to_owned(),
            user(number).to_string(),
            Some(id(event)),
        )
    };
    let (view, root, base) = house.runtime.block_on(async {
        let view = house.store.view().await.unwrap();
        let mut overlay = Overlay::default();
        let all: Vec<_> = (0..members).map(|number| entry(number, number)).collect();
        let root = tree
            .update(&view, &mut overlay, 1, Root::EMPTY, &all)
            .await
            .unwrap();
        let mut batch = Batch::new();
        overlay.write_into(&mut batch, 1, &[root]);
        house.store.commit(batch).await.unwrap();
        (house.store.view().await.unwrap(), root, members)
    });
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let change = [entry(turn % members, base + turn)];
        let mut overlay = Overlay::default();
        house
            .runtime
            .block_on(tree.update(&view, &mut overlay, 1, root, &change))
            .unwrap()
    });
}

#[divan::bench]
fn send(bencher: Bencher<'_, '_>) {
    let house = &*HOUSE;
    bencher
        .with_inputs(message)
        .bench_local_values(|event| house.runtime.block_on(house.rooms.send(event)).unwrap());
}

#[divan::bench]
fn sync_of_one_room_with_a_message(bencher: Bencher<'_, '_>) {
    let house = &*HOUSE;
    let since = house.runtime.block_on(async {
        let position = house.store.view().await.unwrap().position();
        house.rooms.send(message()).await.unwrap();
        Token::at(position)
    });
    // Another device than the one that sent it, which would be kept waiting for its answer.
    sync_from(bencher, Some(since));
}

#[divan::bench]
fn sync_of_one_room_without_news(bencher: Bencher<'_, '_>) {
    let house = &*HOUSE;
    let position = house
        .runtime
        .block_on(house.store.view())
        .unwrap()
        .position();
    sync_from(bencher, Some(Token::at(position)));
}

#[divan::bench]
fn first_sync_of_one_room(bencher: Bencher<'_, '_>) {
    sync_from(bencher, None);
}

fn sync_from(bencher: Bencher<'_, '_>, since: Option<Token>) {
    let house = &*HOUSE;
    bencher.bench_local(|| {
        let request = Request {
            since,
            ..Request::default()
        };
        let answer = house
            .runtime
            .block_on(house.sync.sync(house.session.clone(), request))
            .unwrap();
        serde_json::to_vec(&answer).unwrap()
    });
}
