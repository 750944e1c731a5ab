//! Rooms that members of another room may join, where users of several servers are in both.

use std::sync::{Arc, atomic::Ordering};

use hearth_protocol::{Pdu, federation_json};
use ruma::{OwnedRoomId, OwnedUserId, server_name, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::{House, resident::Town, user};
use crate::{Act, MemberChange, NewEvent, NewRoom, Preset, RemoteTransaction};

fn ann() -> OwnedUserId {
    user_id!("@ann:far").to_owned()
}

/// A room of `@ann:far`, with `rules` about who may join.
async fn room(far: &House, rules: Option<Value>) -> OwnedRoomId {
    let mut room = NewRoom::by(ann());
    room.preset = Some(Preset::PublicChat);
    let room = far.rooms.create(room).await.unwrap();
    if let Some(rules) = rules {
        set(far, &room, "m.room.join_rules", rules).await;
    }
    room
}

async fn set(far: &House, room: &OwnedRoomId, event_type: &str, content: Value) {
    let content = to_raw_value(&content).unwrap();
    let event = NewEvent::state(room.clone(), ann(), event_type, "", content);
    far.rooms.send(event).await.unwrap();
}

/// Has a user join a room.
async fn enter(home: &House, name: &str, room: &OwnedRoomId) -> Pdu {
    let join = MemberChange::own(room.clone(), user(name), Act::Join);
    let via = [server_name!("far").to_owned()];
    let joined = home.rooms.change_membership_through(join, &via).await;
    let view = home.view().await;
    let event = home.rooms.event(&view, &joined.unwrap()).await.unwrap();
    event.unwrap().pdu.clone()
}

/// The other server hears of an event.
async fn tell(far: &House, pdu: &Pdu) {
    let transaction = RemoteTransaction {
        origin: server_name!("home").to_owned(),
        id: pdu.event_id().to_string(),
        events: vec![federation_json(pdu)],
    };
    far.rooms.take_over(transaction).await.unwrap();
    while far.rooms.is_working() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// The user whom a join names as the one who let the user in.
fn let_in_by(join: &Pdu) -> Value {
    let content: Value = serde_json::from_str(join.content().get()).unwrap();
    content["join_authorised_via_users_server"].clone()
}

/// Two servers, and two rooms of `@ann:far` in which `@alice:home` is: one whose members may join the other, in which only
/// `@ann` may let them in.
async fn pair() -> (Arc<Town>, [House; 2], [OwnedRoomId; 2]) {
    let town = Arc::new(Town::default());
    let (home, far) = (House::open(), House::of("far"));
    town.add(&home.rooms);
    town.add(&far.rooms);
    let allowed = room(&far, None).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": allowed }]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = room(&far, Some(rules)).await;
    let levels = json!({ "invite": 50 });
    set(&far, &restricted, "m.room.power_levels", levels).await;
    assert!(let_in_by(&enter(&home, "alice", &allowed).await).is_null());
    let join = enter(&home, "alice", &restricted).await;
    assert_eq!(let_in_by(&join), "@ann:far");
    for room in [&allowed, &restricted] {
        home.rooms.complete(room, 0).await.unwrap();
    }
    (town, [home, far], [allowed, restricted])
}

#[tokio::test]
async fn servers_that_do_not_know_the_same_yet_agree_in_a_moment() {
    let (town, [home, far], [allowed, restricted]) = pair().await;
    let join = enter(&home, "bob", &allowed).await;
    let asked = town.drafts.load(Ordering::Relaxed);
    let told = async {
        // Until then it does not know that the user may come.
        while town.drafts.load(Ordering::Relaxed) == asked {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tell(&far, &join).await;
    };
    let (join, ()) = tokio::join!(enter(&home, "bob", &restricted), told);
    assert_eq!(let_in_by(&join), "@ann:far");
}

#[tokio::test]
async fn a_right_of_which_this_server_did_not_hear_yet_lets_a_user_in() {
    let (_, [home, far], [allowed, restricted]) = pair().await;
    for name in ["bob", "carl"] {
        tell(&far, &enter(&home, name, &allowed).await).await;
    }
    // Nobody here may let another in, as far as is known, and so it is.
    let join = enter(&home, "bob", &restricted).await;
    assert_eq!(let_in_by(&join), "@ann:far");
    // Of this only the other server knows.
    let raised = json!({ "invite": 50, "users": { "@alice:home": 50 } });
    set(&far, &restricted, "m.room.power_levels", raised).await;
    let join = enter(&home, "carl", &restricted).await;
    assert_eq!(let_in_by(&join), "@alice:home");
}
