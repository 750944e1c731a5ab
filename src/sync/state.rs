//! Owns the state that goes with a timeline: whole, or what changed. Together with the timeline it must always lead a client
//! to the state of the room as it is in the view, however the filter cuts the timeline.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::collections::BTreeMap;

use ruma::OwnedEventId;

use crate::{
    Error, ShownEvent, State, Summary, filter, members,
    timeline::Cut,
    window::{Reading, RoomWindow},
};

/// The type of memberships.
pub(crate) const MEMBER: &str = "m.room.member";

/// Entries of a state, by type and state key.
pub(crate) type Entries = BTreeMap<(String, String), OwnedEventId>;

/// The state events that go with a timeline.
pub(crate) async fn read(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    cut: &Cut,
    summary: &Summary,
) -> Result<State, Error> {
    let form = reading.request.state_form;
    let wanted = &reading.request.filter.room.state;
    if !filter::passes_section(wanted, room.id) {
        return Ok(State {
            form,
            events: Vec::new(),
        });
    }
    let mut entries = changed(reading, room, cut).await?;
    members::choose(reading, room, cut, summary, &mut entries).await?;
    let mut events = Vec::with_capacity(entries.len());
    for ((event_type, _), id) in entries {
        if !filter::passes_type(wanted, &event_type) {
            continue;
        }
        let event = reading.rooms().event(reading.view, &id).await?;
        if let Some(event) = event.filter(|event| filter::passes_event(wanted, &event.pdu)) {
            events.push(ShownEvent::new(event, &reading.look));
        }
    }
    Ok(State { form, events })
}

/// The whole state or what changed in it, members included.
async fn changed(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    cut: &Cut,
) -> Result<Entries, Error> {
    let (rooms, view, head) = (reading.rooms(), reading.view, room.head);
    let is_after = reading.request.state_form.is_after();
    let base = if is_after { room.end } else { cut.start };
    let mut entries = Entries::new();
    match room.since {
        Some((_, root)) if !reading.request.full_state => {
            if base == room.end {
                set(&mut entries, room.changes.iter().cloned());
            } else if base != root {
                let changes = rooms.state_diff(view, head, root, base).await?;
                set(&mut entries, changes);
            }
        }
        _ => {
            let all = match members::is_lazy(reading) {
                true => rooms.state_ids_except(view, head, base, MEMBER).await?,
                false => rooms.state_ids(view, head, base, None).await?,
            };
            set(
                &mut entries,
                all.into_iter().map(|(t, k, id)| (t, k, Some(id))),
            );
        }
    }
    // What changes after the start of the timeline without being in it: the filter hides it there.
    if !is_after && cut.start != room.end {
        let later = match room.since {
            Some((_, root)) if root == cut.start => room.changes.clone(),
            _ => rooms.state_diff(view, head, cut.start, room.end).await?,
        };
        let in_timeline = |event_type: &str, state_key: &str| {
            cut.events
                .iter()
                .any(|event| event.pdu.is(event_type, state_key))
        };
        set(
            &mut entries,
            later.into_iter().filter(|(t, k, _)| !in_timeline(t, k)),
        );
    }
    Ok(entries)
}

fn set(
    entries: &mut Entries,
    changes: impl IntoIterator<Item = (String, String, Option<OwnedEventId>)>,
) {
    for (event_type, state_key, id) in changes {
        match id {
            Some(id) => entries.insert((event_type, state_key), id),
            None => entries.remove(&(event_type, state_key)),
        };
    }
}
