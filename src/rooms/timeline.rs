//! Owns reading a room's history: by position, as `/sync` shows it, and by depth and position, as pages and context do.
//! Must never show an event to a user by itself: visibility is asked by the caller, or by [`Rooms::page`].
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing> and
//! <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3roomsroomidmessages>

use std::sync::Arc;

use hearth_protocol::Depth;
use hearth_store::{Direction, Family, Position, Table, View};
use ruma::{EventId, OwnedEventId, RoomId, UserId};

use crate::{Error, Place, Rooms, StoredEvent};

/// (room, position) to event id.
pub(crate) const TIMELINE: Table<(String, Position), String> =
    Table::new(92, "timeline", Family::Index);

/// (room, depth, position) to event id.
pub(crate) const DEPTHS: Table<(String, u64, Position), String> =
    Table::new(93, "depths", Family::Index);

/// (room, event, its successor).
pub(crate) const EDGES: Table<(String, String, String), ()> =
    Table::new(94, "edges", Family::Index);

/// How many events a page has at most.
pub const MAX_PAGE: usize = 1000;

/// How often a page asks other servers for what is missing.
const MAX_FILLS: usize = 4;

/// How many events are looked at to fill a page whose filter lets few through.
const MAX_LOOKED_AT: usize = 5000;

/// A page of a room's history.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, in the direction of the page.
    pub events: Vec<Arc<StoredEvent>>,
    /// Where the page starts.
    pub start: Option<Place>,
    /// Where the next page starts; nothing when there is no more.
    pub end: Option<Place>,
}

/// An event and what surrounds it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// What came before it, newest first.
    pub before: Page,
    /// What came after it, oldest first.
    pub after: Page,
}

impl Rooms {
    /// At most `limit` events with `after < position <= upto`, from the end that `direction` names. Also those that the
    /// reader may not see.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn timeline(
        &self,
        view: &View,
        room_id: &RoomId,
        after: Position,
        upto: Position,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        if after >= upto {
            return Ok(Vec::new());
        }
        let range = (room_id.as_str(), after.next())..(room_id.as_str(), upto.next());
        let found = view.scan(&TIMELINE, range, direction, limit).await?;
        self.named(view, found.into_iter().map(|(_, id)| id)).await
    }

    /// The cut just after the newest event at or below `position`: where `/messages` starts for a token of `/sync`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn place_at(
        &self,
        view: &View,
        room_id: &RoomId,
        position: Position,
    ) -> Result<Place, Error> {
        let newest = self
            .timeline(
                view,
                room_id,
                Position::ZERO,
                position.min(view.position()),
                Direction::Backward,
                1,
            )
            .await?;
        Ok(newest.first().map_or(Place::START, |event| event.place()))
    }

    /// A page of the events that `reader` may see and that `wanted` lets through, from `from` (its end that `direction`
    /// names, if absent) to `to` at most.
    ///
    /// # Errors
    /// `Forbidden` when the reader never took part and the room is not open to all; those of the store.
    #[allow(clippy::too_many_arguments)]
    pub async fn page(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        (from, to): (Option<Place>, Option<Place>),
        direction: Direction,
        limit: usize,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Page, Error> {
        self.check_peek(view, reader, room_id).await?;
        let limit = limit.clamp(1, MAX_PAGE);
        let mut cut = from.unwrap_or(match direction {
            Direction::Forward => Place::START,
            Direction::Backward => Place::END,
        });
        let mut page = Page {
            start: Some(cut),
            ..Page::default()
        };
        let head = self.known_head(view, room_id).await?;
        let mut looked_at = 0;
        let mut view = view.clone();
        // A few times: whoever reads on comes again.
        let mut fills = (direction == Direction::Backward).then_some(MAX_FILLS);
        loop {
            let chunk = (limit - page.events.len()).clamp(16, 256);
            let found = self
                .stretch(&view, room_id, cut, to, direction, chunk)
                .await?;
            let exhausted = found.len() < chunk;
            let lowest = found.last().filter(|_| !exhausted);
            let lowest = lowest.map_or(Depth(0), |(place, _)| place.depth);
            let between = (lowest, cut.depth);
            if let Some(fresh) = self.filled(&view, room_id, between, &mut fills).await? {
                view = fresh;
                continue;
            }
            let view = &view;
            let mut reader = self.reader(view, &head, reader, room_id).await?;
            looked_at += found.len();
            let events = self
                .known_events(view, found.iter().map(|(_, id)| id))
                .await?;
            for ((place, _), event) in found.iter().zip(events) {
                cut = match direction {
                    Direction::Forward => *place,
                    Direction::Backward => place.before(),
                };
                if wanted(&event) && reader.sees(&event).await? {
                    page.events.push(event);
                    if page.events.len() == limit {
                        let more = !exhausted
                            || found.last().is_some_and(|(last, _)| last != place)
                            || self.has_gap(view, room_id, Depth(0), cut.depth).await?;
                        page.end = (more || direction == Direction::Forward).then_some(cut);
                        return Ok(page);
                    }
                }
            }
            if exhausted || looked_at >= MAX_LOOKED_AT {
                // Forward there may be more one day: the token stays good.
                let is_open = !exhausted
                    || (fills.is_some()
                        && self.has_gap(view, room_id, Depth(0), cut.depth).await?);
                page.end = is_open.then_some(cut);
                return Ok(page);
            }
        }
    }

    /// Fills gaps between two depths as long as `fills` says, and gives a view of what is there then. Where nobody tells
    /// what is missing it is not asked for again and again: `fills` is nothing afterwards.
    async fn filled(
        &self,
        view: &View,
        room_id: &RoomId,
        (low, high): (Depth, Depth),
        fills: &mut Option<usize>,
    ) -> Result<Option<View>, Error> {
        let Some(left) = fills.filter(|left| *left > 0) else {
            return Ok(None);
        };
        if !self.has_gap(view, room_id, low, high).await? {
            return Ok(None);
        }
        if !self.fill_gaps(view, room_id, high).await? {
            *fills = None;
            return Ok(None);
        }
        *fills = Some(left - 1);
        Ok(Some(self.0.store.view().await?))
    }

    /// An event and at most `limit` events around it that `reader` may see.
    ///
    /// # Errors
    /// `NotFound` when the reader may not see the event, or it is not in the room.
    pub async fn context(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        limit: usize,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Context, Error> {
        let event = self.visible_event(view, reader, room_id, event_id).await?;
        let half = (limit / 2).min(MAX_PAGE);
        let (back, forth) = (event.place().before(), event.place());
        let mut context = Context {
            before: Page {
                start: Some(back),
                end: Some(back),
                ..Page::default()
            },
            after: Page {
                start: Some(forth),
                end: Some(forth),
                ..Page::default()
            },
            event,
        };
        if half > 0 {
            let (before, after) = (Direction::Backward, Direction::Forward);
            context.before = self
                .page(
                    view,
                    reader,
                    room_id,
                    (Some(back), None),
                    before,
                    half,
                    &wanted,
                )
                .await?;
            let rest = limit - half;
            context.after = self
                .page(
                    view,
                    reader,
                    room_id,
                    (Some(forth), None),
                    after,
                    rest,
                    &wanted,
                )
                .await?;
        }
        Ok(context)
    }

    /// The event of that room, if `reader` may see it.
    ///
    /// # Errors
    /// `NotFound` otherwise.
    pub async fn visible_event(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        let event = self
            .event(view, event_id)
            .await?
            .filter(|event| event.pdu.room_id() == room_id);
        match event {
            Some(event) if self.visible(view, reader, &event).await? => Ok(event),
            _ => Err(Error::not_found("there is no such event, or not for you")),
        }
    }

    /// At most `limit` places and ids from `cut` to `to`, in the direction of the page.
    async fn stretch(
        &self,
        view: &View,
        room_id: &RoomId,
        cut: Place,
        to: Option<Place>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Place, OwnedEventId)>, Error> {
        let (after, upto) = match direction {
            Direction::Forward => (cut, to.unwrap_or(Place::END)),
            Direction::Backward => (to.unwrap_or(Place::START), cut),
        };
        if after >= upto {
            return Ok(Vec::new());
        }
        let key = |place: Place| (room_id.as_str(), place.depth.0, place.position.next());
        let found = view
            .scan(&DEPTHS, key(after)..key(upto), direction, limit)
            .await?;
        let parsed = found.into_iter().map(|((_, depth, position), id)| {
            let place = Place {
                depth: Depth(depth),
                position,
            };
            Ok((place, parse_id(id)?))
        });
        parsed.collect()
    }

    /// The events that an index names, in its order.
    pub(crate) async fn named(
        &self,
        view: &View,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let ids = ids
            .into_iter()
            .map(parse_id)
            .collect::<Result<Vec<_>, _>>()?;
        self.known_events(view, ids).await
    }
}

/// An event id out of an index.
pub(crate) fn parse_id(id: String) -> Result<OwnedEventId, Error> {
    OwnedEventId::try_from(id).map_err(|e| Error::corrupt(format!("an index names no event: {e}")))
}
