//! A room with many entries and many branches, resolved and measured:
//! `cargo test --package hearth-rooms --lib large -- --ignored --nocapture`, better with `--profile fuzz`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "prints what it measures of its own process"
)]

use std::fs;

use hearth_store::Batch;
use tokio::time::Instant;

use super::*;
use crate::{event::EVENTS, event::EventRecord, state::Overlay};

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Seconds of CPU time, and kilobytes: resident now and at most.
fn used() -> (f64, u32, u32) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u32 = fields[11..13]
        .iter()
        .map(|t| t.parse::<u32>().unwrap())
        .sum();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (f64::from(ticks) / 100.0, line("VmRSS:"), line("VmHWM:"))
}

/// Writes the events and nodes of a scene, so that they are read as those of any room, and forgets them.
async fn settle(house: &House, scene: &mut Scene, roots: &[Root]) {
    let mut batch = Batch::new();
    let overlay = std::mem::take(&mut scene.plan.overlay);
    overlay.write_into(&mut batch, scene.plan.head.number, roots);
    for (number, event) in std::mem::take(&mut scene.plan.fresh)
        .into_values()
        .enumerate()
    {
        batch.put(&EVENTS, event.event_id().as_str(), EventRecord::of(&event));
        if number % 5_000 == 4_999 {
            house
                .store
                .commit(std::mem::take(&mut batch))
                .await
                .unwrap();
        }
    }
    house.store.commit(batch).await.unwrap();
    scene.plan.view = house.view().await;
    scene.plan.overlay = Overlay::new();
    // As another node, which has none of it in memory.
    scene.plan.rooms = house.other.clone();
}

#[ignore = "takes minutes unless optimised"]
#[tokio::test]
async fn a_room_with_many_entries_and_branches() {
    let (members, forks) = (
        setting("HEARTH_STATE", 100_000),
        setting("HEARTH_FORKS", 1_000),
    );
    let superseded = setting("HEARTH_SUPERSEDED", 0);
    let house = House::open();
    let (mut scene, mut state) = Scene::open(&house, RoomVersion::default()).await;
    let user = |number: usize| (format!("u{number}"), format!("@u{number}:home"));
    for number in 0..members {
        let (name, id) = user(number);
        let join = json!({ "membership": "join" });
        scene.set(&mut state, &name, "m.room.member", &id, join);
        if number % 3 == 0 {
            let named = json!({ "membership": "join", "displayname": name });
            scene.set(&mut state, &name, "m.room.member", &id, named);
        }
        if number % 5_000 == 0 {
            let levels = scene.levels(&json!({ id: 50 }));
            scene.set(&mut state, "alice", "m.room.power_levels", "", levels);
        }
    }
    let base = scene.root(&state).await;
    settle(&house, &mut scene, &[base]).await;
    let mut roots = Vec::new();
    for fork in 0..forks {
        // On each branch a member has another name and a seat, and the topic is another; on some somebody is banned, on fewer the
        // power levels are changed.
        let banned = user(members / 2 + fork).1;
        let ruling =
            ["create", "power_levels", "join_rules"].map(|it| key(&format!("m.room.{it}"), ""));
        let people = ["@alice:home", &user(fork).1, &banned].map(|id| key("m.room.member", id));
        let rules = ruling.into_iter().chain(people);
        let mut branch: StateMap = rules
            .filter_map(|at| state.get_key_value(&at))
            .map(|(at, event)| (at.clone(), event.clone()))
            .collect();
        let mut changed = vec![key("m.room.topic", "")];
        let (name, id) = user(fork);
        let topic = json!({ "topic": fork.to_string() });
        scene.set(&mut branch, "alice", "m.room.topic", "", topic);
        for turn in 0..=usize::from(fork < superseded) {
            let named = json!({ "membership": "join", "displayname": format!("{name} {turn}") });
            scene.set(&mut branch, &name, "m.room.member", &id, named);
        }
        scene.set(&mut branch, &name, "seat", &id, json!({ "row": fork }));
        changed.extend([key("m.room.member", &id), key("seat", &id)]);
        if fork % 20 == 0 {
            let ban = json!({ "membership": "ban" });
            scene.set(&mut branch, "alice", "m.room.member", &banned, ban);
            changed.push(key("m.room.member", &banned));
        }
        if fork % 50 == 0 {
            let levels = scene.levels(&json!({ id: 50 }));
            scene.set(&mut branch, "alice", "m.room.power_levels", "", levels);
            changed.push(key("m.room.power_levels", ""));
        }
        let changes: Vec<_> = changed
            .into_iter()
            .map(|at| (at.0.clone(), at.1.clone(), branch.get(&at).cloned()))
            .collect();
        roots.push(scene.plan.updated(base, &changes).await.unwrap());
    }
    settle(&house, &mut scene, &roots).await;
    drop((state, std::mem::take(&mut scene.events)));
    for temperature in ["cold", "warm"] {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let (cpu, resident, _) = used();
        let begun = Instant::now();
        let resolution = scene.plan.resolution(&roots).await.unwrap();
        let wall = begun.elapsed();
        let (cpu_after, _, most) = used();
        println!(
            "{temperature}: {wall:.2?}, {:.2} s of CPU, {:.1} MB more at most; {resolution:?}",
            cpu_after - cpu,
            f64::from(most - resident) / 1024.0,
        );
        assert_eq!(resolution.states, forks);
    }
}
