//! A room whose state goes back raises an alarm, and one whose members leave does not.

use hearth_protocol::Pdu;
use ruma::{UserId, user_id};
use serde_json::{Value, json};

use super::receiving::{BOB, Made, Shared};

const CARL: &str = "@carl:away";
const ERIN: &str = "@erin:away";
const LEVELS: (&str, &str) = ("m.room.power_levels", "");
const RULES: (&str, &str) = ("m.room.join_rules", "");

/// A membership that a user of the other server sets.
async fn member(
    shared: &Shared,
    sender: &UserId,
    (user, membership): (&str, &str),
    after: &Pdu,
) -> Pdu {
    let (by, of) = (("m.room.member", sender.as_str()), ("m.room.member", user));
    let mut names = vec![LEVELS, by];
    if sender != user {
        names.push(of);
    }
    if matches!(membership, "join" | "invite") {
        names.push(RULES);
    }
    let made = Made {
        event_type: "m.room.member",
        state_key: Some(user),
        content: json!({ "membership": membership }),
        after: &[after],
        names: &names,
    };
    shared.make_by(sender, made).await
}

/// A room in which `@carl:away` has more power than `@bob:away`, and what both may follow.
async fn with_powers() -> (Shared, Pdu) {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let carl = member(&shared, user_id!("@carl:away"), (CARL, "join"), &newest).await;
    shared.send("carl", &[&carl]).await;
    let set = async |event_type: &str, content: Value| {
        let set = shared.house.set(&shared.room, "alice", event_type, content);
        set.await.unwrap();
    };
    set("m.room.power_levels", levels(50)).await;
    set("m.room.join_rules", json!({ "join_rule": "invite" })).await;
    let fork = shared.newest().await;
    (shared, fork)
}

fn levels(invite: u8) -> Value {
    json!({ "users": { BOB: 60, CARL: 90 }, "invite": invite, "events": {} })
}

/// What `@carl:away` does to `@bob:away` beside all that comes after `fork`. It names what was the state there.
async fn ban_of_bob(shared: &Shared, fork: &Pdu) -> Pdu {
    member(shared, user_id!("@carl:away"), (BOB, "ban"), fork).await
}

/// Lets the ban come in.
async fn ban_bob(shared: &Shared, ban: &Pdu) {
    shared.send("ban", &[ban]).await;
    let stored = shared.stored(ban.event_id()).await.unwrap();
    assert!(!stored.soft_failed && !stored.pdu.is_rejected());
    let found = shared.house.other.recompute(&shared.room).await.unwrap();
    assert_eq!(found.differences, Vec::<String>::new());
}

/// A state event of `@bob:away`.
async fn set_by_bob(shared: &Shared, event_type: &str, content: Value, after: &Pdu) -> Pdu {
    let made = Made {
        event_type,
        state_key: Some(""),
        content,
        after: &[after],
        names: &[LEVELS, ("m.room.member", BOB)],
    };
    let set = shared.make(made).await;
    shared.send(event_type, &[&set]).await;
    set
}

#[tokio::test]
async fn powers_that_are_those_of_before_raise_an_alarm() {
    let (shared, fork) = with_powers().await;
    let ban = ban_of_bob(&shared, &fork).await;
    set_by_bob(&shared, LEVELS.0, levels(10), &fork).await;
    let now = shared.house.content(&shared.room, LEVELS.0).await;
    assert_eq!(now, levels(10));
    assert!(shared.house.rooms.alarms().await.unwrap().is_empty());
    ban_bob(&shared, &ban).await;
    let now = shared.house.content(&shared.room, LEVELS.0).await;
    assert_eq!(now, levels(50));
    let alarms = shared.house.rooms.alarms().await.unwrap();
    let [(position, alarm)] = alarms.as_slice() else {
        panic!("one alarm and not {alarms:?}");
    };
    assert_eq!((alarm.powers, alarm.count), (true, 0));
    assert_eq!(
        (&alarm.room_id, &*alarm.event_id),
        (&shared.room, ban.event_id())
    );
    shared
        .house
        .rooms
        .forget_alarms(&[*position])
        .await
        .unwrap();
    assert!(shared.house.rooms.alarms().await.unwrap().is_empty());
}

#[tokio::test]
async fn members_who_are_out_without_having_left_raise_an_alarm() {
    let (shared, fork) = with_powers().await;
    let ban = ban_of_bob(&shared, &fork).await;
    let public = json!({ "join_rule": "public" });
    let opened = set_by_bob(&shared, RULES.0, public, &fork).await;
    let erin = user_id!("@erin:away");
    let join = member(&shared, erin, (ERIN, "join"), &opened).await;
    shared.send("join", &[&join]).await;
    assert_eq!(shared.head().await.joined, 4);
    ban_bob(&shared, &ban).await;
    // Bob is banned, which an event says; nobody may have let Erin in.
    assert_eq!(shared.head().await.joined, 2);
    let alarms = shared.house.rooms.alarms().await.unwrap();
    let [(_, alarm)] = alarms.as_slice() else {
        panic!("one alarm and not {alarms:?}");
    };
    assert_eq!((alarm.powers, alarm.count), (false, 1));
    assert_eq!(alarm.users, [ERIN]);
}

#[tokio::test]
async fn members_who_leave_beside_others_raise_none() {
    let (shared, fork) = with_powers().await;
    shared.house.say(&shared.room, "alice", "beside").await;
    let carl = user_id!("@carl:away");
    let leave = member(&shared, carl, (CARL, "leave"), &fork).await;
    shared.send("leave", &[&leave]).await;
    assert_eq!(shared.head().await.extremities.len(), 2);
    assert_eq!(shared.head().await.joined, 2);
    assert!(shared.house.rooms.alarms().await.unwrap().is_empty());
}
