//! Target: state resolution where branches of a made-up room meet. The result is the same for every order of the states and
//! however often one is there; it makes nothing up, keeps what all agree on, and can always be computed.

use hearth_protocol::{Pdu, RoomVersion, StateMap, resolve_whole};
use ruma::{EventId, OwnedEventId};

use crate::{
    Outcome,
    room::{Room, Sketch},
    source::Source,
};

/// How many branches meet at most.
const BRANCHES: usize = 4;

pub(crate) fn run(source: &Source) -> Outcome {
    let version = RoomVersion::ALL[source.pick(12)];
    let (mut room, state) = Room::begin(source, version)?;
    let mut branches = vec![state; 2 + source.pick(BRANCHES - 1)];
    for _ in 0..6 + source.pick(26) {
        let at = source.pick(branches.len());
        if source.once_in(8) {
            // A branch hears of another.
            let other = branches[source.pick(branches.len())].clone();
            branches[at] = resolved(&room, &[branches[at].clone(), other])?;
        }
        let sketch = Sketch {
            prev: some_event(source, &room),
            ..room.act(source, &branches[at])
        };
        let Some(pdu) = room.write(&sketch) else {
            continue;
        };
        if room.judge(&pdu, &branches[at]).is_ok() {
            source.tell(|| format!("branch {at}: {} {}", pdu.event_id(), pdu.json()));
            room.enter(pdu, &mut branches[at]);
        }
    }
    meet(source, &room, &branches).map_err(|e| format!("version {version}: {e}"))?;
    Ok(branches.windows(2).any(|pair| pair[0] != pair[1]))
}

/// What an event that is not the first follows.
fn some_event(source: &Source, room: &Room) -> Vec<OwnedEventId> {
    let mut known: Vec<&OwnedEventId> = room.events.keys().collect();
    known.sort_unstable();
    vec![known[source.pick(known.len())].clone()]
}

fn resolved(room: &Room, states: &[StateMap]) -> Result<StateMap, String> {
    let fetch = |id: &EventId| room.events.get(id).cloned();
    resolve_whole(room.version, states, fetch).map_err(|e| format!("it cannot be computed: {e}"))
}

fn meet(source: &Source, room: &Room, branches: &[StateMap]) -> Result<(), String> {
    let outcome = resolved(room, branches)?;
    let mut states = branches.to_vec();
    for turn in 0..4 {
        source.shuffle(&mut states);
        if turn > 1 {
            states.push(branches[source.pick(branches.len())].clone());
        }
        let other = resolved(room, &states)?;
        if other != outcome {
            return Err(differs(
                room,
                &outcome,
                &other,
                "for the states in another order",
            ));
        }
    }
    let again = resolved(room, &[outcome.clone(), outcome.clone()])?;
    if again != outcome {
        return Err(differs(room, &outcome, &again, "once more"));
    }
    let create = ("m.room.create".to_owned(), String::new());
    if outcome.get(&create) != branches[0].get(&create) {
        return Err("another create event".to_owned());
    }
    for (key, id) in &outcome {
        let event = room.events.get(id).ok_or("an event that is not there")?;
        if !event.is(&key.0, &key.1) {
            return Err(format!("{} is said to be {key:?}", event.json()));
        }
    }
    for (key, id) in &branches[0] {
        let agreed = branches.iter().all(|state| state.get(key) == Some(id));
        if agreed && outcome.get(key) != Some(id) {
            return Err(format!("all agree on {key:?}, and it is lost"));
        }
    }
    Ok(())
}

fn differs(room: &Room, one: &StateMap, other: &StateMap, when: &str) -> String {
    let text = |id: Option<&OwnedEventId>| {
        let event = id.and_then(|id| room.events.get(id));
        event.map_or("nothing", Pdu::json).to_owned()
    };
    let mut told = format!("another state {when}");
    let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (one, other) = (one.get(key), other.get(key));
        if one != other {
            told += &format!("; {key:?}: {} and {}", text(one), text(other));
        }
    }
    told
}
