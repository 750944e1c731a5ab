//! Owns the timeline of a room: its newest events that the device has not seen, without a gap among them. Must never show
//! an event that the user may not see, nor one that the last answer showed.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::sync::Arc;

use hearth_rooms::{Membership, Root, StoredEvent};
use hearth_store::Position;

use crate::{
    Error, ShownEvent, Timeline, Token, filter,
    window::{Reading, RoomWindow},
};

/// How many events a timeline has unless the client says.
const USUAL: usize = 10;

/// How many it has at most.
const MOST: usize = 500;

/// How many events are looked at for a timeline whose filter lets few through.
const MAX_LOOKED_AT: usize = 2000;

/// The events of a timeline, before they are shown.
pub(crate) struct Cut {
    /// Oldest first.
    pub(crate) events: Vec<Arc<StoredEvent>>,
    /// Whether there are more between the token and these.
    pub(crate) limited: bool,
    /// Where it starts: everything at or below is left for pages.
    after: Position,
    /// The state of the room where it starts.
    pub(crate) start: Root,
}

/// The newest events of a room that the device has not seen.
pub(crate) async fn read(reading: &Reading<'_>, room: &RoomWindow<'_>) -> Result<Cut, Error> {
    let after = room.since.map_or(Position::ZERO, |(since, _)| since);
    let wanted = &reading.request.filter.room.timeline;
    let limit = wanted.limit.map_or(USUAL, |limit| {
        usize::try_from(u64::from(limit)).map_or(MOST, |limit| limit.min(MOST))
    });
    // Newest first until the end.
    let mut events: Vec<Arc<StoredEvent>> = Vec::new();
    let (mut upto, mut looked_at, mut more) = (room.upto, 0, false);
    let is_wanted = filter::passes_section(wanted, room.id);
    while is_wanted && after < upto {
        let chunk = (limit + 1 - events.len()).clamp(1, 256);
        let mut found = reading
            .rooms()
            .newest(reading.view, (room.id, room.head), (after, upto), chunk)
            .await?;
        let exhausted = found.len() < chunk;
        looked_at += found.len();
        upto = found
            .last()
            .map_or(after, |last| Position(last.position.0.saturating_sub(1)));
        let gap = first_gap(reading, room, &found).await?;
        found.truncate(gap.map_or(found.len(), |gap| gap + 1));
        found.retain(|event| passes(reading, event));
        reading
            .rooms()
            .retain_visible(reading.view, room.head, reading.user(), &mut found)
            .await?;
        let room_left = limit - events.len();
        more = found.len() > room_left
            || (looked_at >= MAX_LOOKED_AT && !exhausted)
            || (gap.is_some() && room.since.is_some());
        events.extend(found.into_iter().take(room_left));
        if more || exhausted || gap.is_some() {
            break;
        }
    }
    events.reverse();
    let is_new = room.since.is_none();
    // Who comes into a room that others filled meanwhile has a gap before its first event, seen or not.
    let came_in = is_new && reading.since().is_some();
    let after = match events.first() {
        Some(first) if more || is_new => Position(first.position.0.saturating_sub(1)),
        None if more || is_new => room.upto,
        _ => after,
    };
    let start = match (events.first(), room.since) {
        (Some(first), None) => reading.rooms().current_before(reading.view, first).await?,
        (Some(first), Some(_)) if more => {
            reading.rooms().current_before(reading.view, first).await?
        }
        (Some(_), Some((_, root))) => root,
        (None, _) => room.end,
    };
    Ok(Cut {
        events,
        limited: more || came_in,
        after,
        start,
    })
}

/// The place of the first of these events, newest first, before which this server misses some: a timeline goes no further,
/// and pages fill the gap.
async fn first_gap(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    events: &[Arc<StoredEvent>],
) -> Result<Option<usize>, Error> {
    let (rooms, view) = (reading.rooms(), reading.view);
    if !rooms.may_have_gaps(view, room.id, room.head).await? {
        return Ok(None);
    }
    for (place, event) in events.iter().enumerate() {
        if rooms.follows_gap(view, event).await? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Whether the filter lets an event through, and the user has not asked to be spared its sender's messages.
fn passes(reading: &Reading<'_>, event: &StoredEvent) -> bool {
    let wanted = &reading.request.filter.room.timeline;
    filter::passes_event(wanted, &event.pdu)
        && (event.pdu.is_state() || !reading.ignored.contains(event.pdu.sender()))
}

/// The events as the device sees them.
pub(crate) async fn show(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    cut: Cut,
) -> Result<Timeline, Error> {
    let (rooms, view) = (reading.rooms(), reading.view);
    let mut events = Vec::with_capacity(cut.events.len());
    for event in cut.events {
        let mut shown = ShownEvent::new(event.clone(), &reading.look);
        shown.relations = rooms
            .bundled(view, reading.user(), room.head, &event)
            .await?;
        shown.replaced = rooms.replaced(view, room.head, &event).await?;
        shown.membership = Some(membership_then(reading, room, &event).await?);
        events.push(shown);
    }
    Ok(Timeline {
        events,
        limited: cut.limited,
        prev_batch: Token::at(cut.after),
    })
}

/// What the user was when the event was sent, by the event itself if it says so.
async fn membership_then(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    event: &StoredEvent,
) -> Result<Membership, Error> {
    if event.position >= room.member.position {
        return Ok(room.member.membership);
    }
    Ok(reading
        .rooms()
        .membership_at(reading.view, room.head, event.state_after, reading.user())
        .await?)
}
