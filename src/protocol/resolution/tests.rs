#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::scenario::{self, Sketch, draw_all, id, versions};

/// States to resolve, and what comes out in which room versions. States are lists of event names.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    /// For the reader of the fixture.
    #[serde(rename = "why")]
    _why: String,
    events: Vec<Sketch>,
    states: Vec<Vec<String>>,
    expected: BTreeMap<String, Vec<String>>,
}

fn scenarios() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = scenario::read(include_str!("../fixtures/resolution.json"));
    for event in scenarios
        .iter_mut()
        .flat_map(|scenario| &mut scenario.events)
    {
        // Version 12 forbids to list the creator, the others need it: `draw_in` adds it where it belongs.
        assert!(event.content["users"].get("@alice:a").is_none());
    }
    scenarios
}

fn draw_in(scenario: &Scenario, version: RoomVersion) -> HashMap<OwnedEventId, Pdu> {
    let mut events = scenario.events.clone();
    for event in events
        .iter_mut()
        .filter(|event| event.event_type == "m.room.power_levels")
    {
        if !version.has_hashed_room_ids() {
            event.content["users"]["@alice:a"] = 100.into();
        }
    }
    draw_all(&events, version)
}

fn state(names: &[String], events: &HashMap<OwnedEventId, Pdu>, version: RoomVersion) -> StateMap {
    let entry = |name: &String| {
        let event = &events[&id(name, version)];
        (
            (
                event.event_type().to_owned(),
                event.state_key().unwrap().to_owned(),
            ),
            event.event_id().to_owned(),
        )
    };
    names.iter().map(entry).collect()
}

#[test]
fn states_resolve_as_the_algorithm_of_their_version_says() {
    for scenario in scenarios() {
        for (range, expected) in &scenario.expected {
            for version in versions(range) {
                let events = draw_in(&scenario, version);
                let states: Vec<_> = scenario
                    .states
                    .iter()
                    .map(|names| state(names, &events, version))
                    .collect();
                let resolved =
                    resolve_whole(version, &states, |id| events.get(id).cloned()).unwrap();
                let expected = state(expected, &events, version);
                assert_eq!(
                    resolved.into_iter().collect::<BTreeMap<_, _>>(),
                    expected.into_iter().collect::<BTreeMap<_, _>>(),
                    "{} in version {version}",
                    scenario.name
                );
            }
        }
    }
}

#[test]
fn the_order_and_number_of_equal_states_do_not_matter() {
    for scenario in scenarios() {
        for version in RoomVersion::ALL {
            let events = draw_in(&scenario, version);
            let fetch = |id: &EventId| events.get(id).cloned();
            let mut states: Vec<_> = scenario
                .states
                .iter()
                .map(|names| state(names, &events, version))
                .collect();
            let once = resolve_whole(version, &states, fetch).unwrap();
            states.reverse();
            assert_eq!(
                resolve_whole(version, &states, fetch).unwrap(),
                once,
                "{}",
                scenario.name
            );
            states.rotate_left(1);
            states.push(states[0].clone());
            assert_eq!(
                resolve_whole(version, &states, fetch).unwrap(),
                once,
                "{}",
                scenario.name
            );
            // What has been resolved is settled.
            assert_eq!(
                resolve_whole(version, &[once.clone(), once.clone()], fetch).unwrap(),
                once
            );
        }
    }
}

/// What `resolve` promises to callers that know the differences: agreed entries that no rule asks for may stay away.
#[test]
fn a_caller_may_leave_out_what_is_agreed_and_not_asked_for() {
    for scenario in scenarios() {
        for version in RoomVersion::ALL {
            let events = draw_in(&scenario, version);
            let fetch = |id: &EventId| events.get(id).cloned();
            let whole: Vec<_> = scenario
                .states
                .iter()
                .map(|names| state(names, &events, version))
                .collect();
            let mut wanted: HashSet<(String, String)> =
                HashSet::from([("m.room.create".to_owned(), String::new())]);
            let agreed = |key: &(String, String)| {
                whole
                    .iter()
                    .all(|state| state.get(key) == whole[0].get(key))
            };
            for event in events.values() {
                let key = (
                    event.event_type().to_owned(),
                    event.state_key().unwrap().to_owned(),
                );
                if !agreed(&key) {
                    wanted.insert(key);
                    let types = crate::auth_types(
                        event.event_type(),
                        event.sender(),
                        event.state_key(),
                        event.content(),
                        version,
                    );
                    wanted.extend(types.unwrap());
                }
            }
            let narrowed: Vec<StateMap> = whole
                .iter()
                .map(|state| {
                    state
                        .clone()
                        .into_iter()
                        .filter(|(key, _)| wanted.contains(key))
                        .collect()
                })
                .collect();
            let chains = auth_chains(&whole, fetch).unwrap();
            let subgraph = |ids: &HashSet<OwnedEventId>| conflicted_subgraph(ids, fetch);
            let resolved = resolve(version, &narrowed, chains, fetch, subgraph).unwrap();
            let mut expected = resolve_whole(version, &whole, fetch).unwrap();
            expected.retain(|key, _| wanted.contains(key));
            assert_eq!(resolved, expected, "{} in version {version}", scenario.name);
        }
    }
}

#[test]
fn a_missing_event_decides_nothing() {
    for version in RoomVersion::ALL {
        let scenario = scenarios()
            .into_iter()
            .find(|scenario| scenario.name.starts_with("an admin demotes"))
            .unwrap();
        let events = draw_in(&scenario, version);
        let states: Vec<_> = scenario
            .states
            .iter()
            .map(|names| state(names, &events, version))
            .collect();
        let gone = id("demote", version);
        let fetch = |id: &EventId| events.get(id).filter(|_| *id != gone).cloned();
        assert_eq!(
            resolve_whole(version, &states, fetch),
            Err(Unresolved::Missing(gone.clone()))
        );
    }
}

#[test]
fn the_subgraph_holds_the_events_between_the_conflicted_ones() {
    let version = RoomVersion::default();
    let sketch = |name: &str, auth: &[&str]| Sketch {
        auth: auth.iter().map(|name| (*name).to_owned()).collect(),
        ..serde_json::from_value(serde_json::json!({
            "id": name, "type": "t", "key": name, "sender": "@a:a", "content": {}
        }))
        .unwrap()
    };
    // low ← between ← high, low ← side, root ← low.
    let sketches = [
        sketch("root", &[]),
        sketch("low", &["root"]),
        sketch("between", &["low"]),
        sketch("side", &["low"]),
        sketch("high", &["between", "root"]),
    ];
    let events = draw_all(&sketches, version);
    let conflicted = HashSet::from([id("low", version), id("high", version)]);
    let subgraph = conflicted_subgraph(&conflicted, |id| events.get(id).cloned()).unwrap();
    assert_eq!(
        subgraph,
        HashSet::from([
            id("low", version),
            id("between", version),
            id("high", version)
        ])
    );
}

#[test]
fn auth_events_in_a_circle_are_found_out() {
    let version = RoomVersion::ALL[1];
    let mut scenario = scenarios()
        .into_iter()
        .find(|scenario| scenario.name.starts_with("an admin demotes"))
        .unwrap();
    let levels = scenario
        .events
        .iter_mut()
        .find(|event| event.id == "levels")
        .unwrap();
    levels.auth.push("raise".to_owned());
    let events = draw_in(&scenario, version);
    let states: Vec<_> = scenario
        .states
        .iter()
        .map(|names| state(names, &events, version))
        .collect();
    let verdict = resolve_whole(version, &states, |id| events.get(id).cloned());
    assert!(
        matches!(verdict, Err(Unresolved::Corrupt(_))),
        "{verdict:?}"
    );
}
