//! What another server knows of and this one does not is found by comparing heads.

use std::time::Duration;

use hearth_protocol::federation_json;

use super::{House, receiving::Shared};
use crate::{Error, Preset, Walk, heads_of};

#[tokio::test]
async fn heads_that_are_not_known_are_taken_over_with_what_comes_before() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let lost = shared.message("lost", &[&newest]).await;
    let last = shared.message("last", &[&lost]).await;
    *shared.away.heads.lock() = vec![last.event_id().to_owned()];
    *shared.away.before.lock() = vec![federation_json(&lost)];
    let told = (last.event_id().to_owned(), federation_json(&last));
    shared.away.events.lock().extend([told]);
    let rooms = &shared.house.rooms;
    assert_eq!(rooms.heal(&shared.room).await.unwrap(), 1);
    while rooms.is_working() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stored = shared.stored(lost.event_id()).await.unwrap();
    assert!(!stored.is_outlier() && !stored.soft_failed && !stored.pdu.is_rejected());
    assert_eq!(shared.head().await.extremities, [last.event_id()]);
    // What is known is not asked for.
    shared.away.events.lock().clear();
    assert_eq!(rooms.heal(&shared.room).await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_that_is_told_instead_of_a_head_is_not_taken() {
    let shared = Shared::open().await;
    let newest = shared.newest().await;
    let asked = shared.message("asked", &[&newest]).await;
    let other = shared.message("other", &[&newest]).await;
    *shared.away.heads.lock() = vec![asked.event_id().to_owned()];
    let told = (asked.event_id().to_owned(), federation_json(&other));
    shared.away.events.lock().extend([told]);
    assert_eq!(shared.house.rooms.heal(&shared.room).await.unwrap(), 0);
    assert!(shared.stored(other.event_id()).await.is_none());
}

/// The rooms at which a look at another server is worth its while.
async fn worth_it(house: &House) -> Vec<ruma::OwnedRoomId> {
    let (mut walk, mut found) = (Walk::default(), Vec::new());
    while let Some((next, room)) = house.rooms.next_to_heal(&walk).await.unwrap() {
        walk = next;
        found.extend(room);
    }
    found
}

#[tokio::test]
async fn rooms_are_looked_at_that_are_quiet_or_have_branches_and_are_shared() {
    let shared = Shared::open().await;
    let house = &shared.house;
    let alone = house.room(Preset::PublicChat).await;
    house.say(&shared.room, "alice", "just now").await;
    assert!(worth_it(house).await.is_empty());
    house.clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(worth_it(house).await, std::slice::from_ref(&shared.room));
    let before = shared.newest().await;
    house.say(&shared.room, "alice", "again").await;
    assert!(worth_it(house).await.is_empty());
    let beside = shared.message("beside", &[&before]).await;
    shared.send("1", &[&beside]).await;
    assert_eq!(shared.head().await.extremities.len(), 2);
    assert_eq!(worth_it(house).await, std::slice::from_ref(&shared.room));
    let nobody = house.rooms.heal(&alone).await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
}

#[test]
fn drafts_of_all_versions_name_heads() {
    let of =
        |json: &str| heads_of(&serde_json::value::RawValue::from_string(json.to_owned()).unwrap());
    let first = of(r#"{"prev_events":[["$a:b",{"sha256":"x"}],["$c:d",{}]]}"#);
    assert_eq!(first, ["$a:b", "$c:d"]);
    assert_eq!(of(r#"{"prev_events":["$a"],"depth":1}"#), ["$a"]);
    for none in ["{}", "[]", r#"{"prev_events":[1]}"#] {
        assert!(of(none).is_empty());
    }
}
