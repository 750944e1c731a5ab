use serde_json::json;

use super::*;

fn lazy(limit: u32) -> Value {
    json!({ "room": { "timeline": { "limit": limit }, "state": { "lazy_load_members": true } } })
}

#[tokio::test]
async fn members_come_with_what_they_say() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob", "carol", "dan"]).await;
    house
        .set(&room, "alice", ("m.room.name", ""), json!({ "name": "N" }))
        .await;
    house.say(&room, "bob", "1").await;
    let (since, answer) = house.look(&alice, with(lazy(1))).await;
    let shown = joined(&answer, &room);
    assert_eq!(
        members(shown),
        ["@alice:home", "@bob:home"],
        "the sender and oneself"
    );
    assert!(keys(shown, "state").contains(&("m.room.create", "")));

    house.say(&room, "bob", "2").await;
    house.say(&room, "carol", "3").await;
    let (next, answer) = house.look(&alice, since_with(since, lazy(5))).await;
    assert_eq!(
        members(joined(&answer, &room)),
        ["@carol:home"],
        "bob is known"
    );

    // The answer did not arrive: what was in it is not known.
    let (_, answer) = house.look(&alice, since_with(since, lazy(5))).await;
    assert_eq!(members(joined(&answer, &room)), ["@carol:home"]);

    house.say(&room, "carol", "4").await;
    let mut redundant = lazy(5);
    redundant["room"]["state"]["include_redundant_members"] = json!(true);
    let (_, answer) = house.look(&alice, since_with(next, redundant)).await;
    assert_eq!(members(joined(&answer, &room)), ["@carol:home"]);
    let (next, answer) = house.look(&alice, since_with(next, lazy(5))).await;
    assert!(members(joined(&answer, &room)).is_empty());

    // Another device knows nothing.
    let other = Session {
        device_id: "E".into(),
        ..alice.clone()
    };
    house.say(&room, "carol", "5").await;
    let (_, answer) = house.look(&other, since_with(next, lazy(5))).await;
    assert_eq!(members(joined(&answer, &room)), ["@carol:home"]);
}

#[tokio::test]
async fn in_a_gap_only_those_who_matter_are_told() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob", "carol", "dan"]).await;
    house
        .set(&room, "alice", ("m.room.name", ""), json!({ "name": "N" }))
        .await;
    house.say(&room, "bob", "1").await;
    let (since, _) = house.look(&alice, with(lazy(1))).await;
    let rename = |name: &str| json!({ "membership": "join", "displayname": name });
    for who in ["bob", "carol", "dan"] {
        let key = format!("@{who}:home");
        house
            .set(&room, who, ("m.room.member", &key), rename(who))
            .await;
    }
    house.say(&room, "carol", "2").await;
    let (_, answer) = house.look(&alice, since_with(since, lazy(1))).await;
    let shown = joined(&answer, &room);
    // Carol speaks, and the device has an old bob; dan it never heard of.
    assert_eq!(members(shown), ["@bob:home", "@carol:home"]);
}

#[tokio::test]
async fn the_heroes_of_a_nameless_room_come_along() {
    let house = House::open();
    let alice = house.account("alice").await;
    let room = house.company(&["alice", "bob"]).await;
    house.say(&room, "alice", "1").await;
    let (_, answer) = house.look(&alice, with(lazy(1))).await;
    let shown = joined(&answer, &room);
    assert_eq!(shown["summary"]["m.heroes"], json!(["@bob:home"]));
    assert_eq!(members(shown), ["@alice:home", "@bob:home"]);
}
