//! Owns a memory of the ends of timelines: everybody in a room asks for the same last events, and for what most of them do
//! not have. Must never be believed for another head than the one that it goes with.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::sync::Arc;

use hearth_store::{Direction, Position, View};
use quick_cache::sync::Cache;
use ruma::{OwnedEventId, OwnedRoomId, RoomId};

use crate::{
    Error, Head, Rooms, StoredEvent,
    receive::GAPS,
    relation::RELATIONS,
    timeline::{TIMELINE, parse_id},
    unread::{HIGHLIGHTS, THREAD_EVENTS},
};

/// How many events are remembered of each room: a timeline of the usual length and some.
const KEPT: usize = 16;

/// Of how many rooms.
const ROOMS: usize = 4096;

/// The ends that were read or written lately.
pub(crate) struct Tails(Cache<OwnedRoomId, Arc<Tail>>);

impl Default for Tails {
    fn default() -> Self {
        Self(Cache::new(ROOMS))
    }
}

/// The end of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tail {
    /// Everything above this position is here.
    after: Position,
    /// The position of the head that it goes with.
    upto: Position,
    /// Oldest first.
    events: Vec<(Position, OwnedEventId)>,
    traits: Traits,
}

/// What only some events of a timeline are, which spares looking for it: for each the position above which no event is so,
/// nothing if none in the room is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// It refers to another event.
    pub(crate) related: Option<Position>,
    /// It is counted in a thread.
    pub(crate) threaded: Option<Position>,
    /// It mentions somebody.
    pub(crate) highlighted: Option<Position>,
    /// Something before it is missing.
    pub(crate) gapped: Option<Position>,
}

impl Traits {
    /// Those of a stretch of the timeline and of the one before.
    fn or(self, before: Self) -> Self {
        Self {
            related: self.related.or(before.related),
            threaded: self.threaded.or(before.threaded),
            highlighted: self.highlighted.or(before.highlighted),
            gapped: self.gapped.or(before.gapped),
        }
    }

    fn map(self, f: impl Fn(Position) -> Position) -> Self {
        Self {
            related: self.related.map(&f),
            threaded: self.threaded.map(&f),
            highlighted: self.highlighted.map(&f),
            gapped: self.gapped.map(&f),
        }
    }
}

/// What a commit adds to the end of a timeline.
#[derive(Default)]
pub(crate) struct Added {
    /// In the order of their positions.
    pub(crate) events: Vec<(Position, OwnedEventId)>,
    pub(crate) traits: Traits,
}

impl Added {
    /// With other positions, such as those that the commit assigned.
    pub(crate) fn map(self, f: impl Fn(Position) -> Position) -> Self {
        let events = self.events.into_iter();
        Self {
            events: events.map(|(position, id)| (f(position), id)).collect(),
            traits: self.traits.map(f),
        }
    }
}

impl Tail {
    /// At most `limit` events with `after < position <= upto`, newest first; nothing if there may be more than are here.
    fn newest(&self, after: Position, upto: Position, limit: usize) -> Option<Vec<&OwnedEventId>> {
        let wanted = self.events.iter().rev();
        let wanted = wanted.filter(|(position, _)| after < *position && *position <= upto);
        let found: Vec<_> = wanted.map(|(_, id)| id).take(limit).collect();
        (after >= self.after || found.len() == limit).then_some(found)
    }

    /// This end with what a commit adds.
    fn and(&self, added: Added, upto: Position) -> Self {
        let mut events = self.events.clone();
        events.extend(added.events);
        let surplus = events.len().saturating_sub(KEPT);
        let dropped = events.drain(..surplus).next_back();
        Self {
            after: dropped.map_or(self.after, |(position, _)| position),
            upto,
            events,
            traits: added.traits.or(self.traits),
        }
    }
}

impl Tails {
    /// Takes in what was added to a room whose head was at `before`.
    pub(crate) fn extend(&self, room_id: &RoomId, before: Position, added: Added) {
        let Some((upto, _)) = added.events.last() else {
            return;
        };
        let upto = *upto;
        if let Some(known) = self.0.get(room_id)
            && known.upto == before
        {
            self.0
                .insert(room_id.to_owned(), Arc::new(known.and(added, upto)));
        }
    }
}

impl Rooms {
    /// At most `limit` of a room's newest events with `after < position <= upto`, newest first, where `head` is that of
    /// `view`. As [`Rooms::timeline`], from memory if they are among the last.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn newest(
        &self,
        view: &View,
        (room_id, head): (&RoomId, &Head),
        (after, upto): (Position, Position),
        limit: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let upto = upto.min(head.position);
        if after >= upto || limit == 0 {
            return Ok(Vec::new());
        }
        let tail = self.tail(view, room_id, head).await?;
        match tail.newest(after, upto, limit) {
            Some(ids) => self.known_events(view, ids).await,
            None => {
                self.timeline(view, room_id, after, upto, Direction::Backward, limit)
                    .await
            }
        }
    }

    /// What only some events of a room are, where `head` is that of `view`.
    pub(crate) async fn traits(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
    ) -> Result<Traits, Error> {
        Ok(self.tail(view, room_id, head).await?.traits)
    }

    async fn tail(&self, view: &View, room_id: &RoomId, head: &Head) -> Result<Arc<Tail>, Error> {
        let tails = &self.0.tails.0;
        if let Some(known) = tails.get(room_id)
            && known.upto == head.position
        {
            return Ok(known);
        }
        let all = (room_id.as_str(), Position::ZERO)..(room_id.as_str(), head.position.next());
        let found = view.scan(&TIMELINE, all, Direction::Backward, KEPT).await?;
        let is_whole = found.len() < KEPT;
        let events = found.into_iter().rev();
        let events = events
            .map(|((_, position), id)| Ok((position, parse_id(id)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let oldest = events.first().filter(|_| !is_whole);
        let tail = Arc::new(Tail {
            after: oldest.map_or(Position::ZERO, |(oldest, _)| Position(oldest.0 - 1)),
            upto: head.position,
            events,
            traits: self.read_traits(view, room_id, head).await?,
        });
        tails.insert(room_id.to_owned(), tail.clone());
        Ok(tail)
    }
}

impl Rooms {
    async fn read_traits(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
    ) -> Result<Traits, Error> {
        let prefix = (room_id.as_str(),);
        let (first, last) = (Direction::Forward, Direction::Backward);
        let related = view.scan_prefix(&RELATIONS, prefix, first, 1).await?;
        let threaded = view.scan_prefix(&THREAD_EVENTS, prefix, last, 1).await?;
        let highlighted = view.scan_prefix(&HIGHLIGHTS, prefix, first, 1).await?;
        let gapped = view.scan_prefix(&GAPS, prefix, first, 1).await?;
        Ok(Traits {
            // Where the last one is, these indexes do not say.
            related: related.first().map(|_| head.position),
            threaded: threaded.first().map(|((_, position), _)| *position),
            highlighted: highlighted.first().map(|_| head.position),
            gapped: gapped.first().map(|_| head.position),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn id(number: u64) -> OwnedEventId {
        OwnedEventId::try_from(format!("${number}")).unwrap()
    }

    fn tail(after: u64, positions: &[u64]) -> Tail {
        Tail {
            after: Position(after),
            upto: Position(*positions.last().unwrap()),
            events: positions.iter().map(|p| (Position(*p), id(*p))).collect(),
            traits: Traits::default(),
        }
    }

    fn added(position: u64) -> Added {
        Added {
            events: vec![(Position(position), id(position))],
            traits: Traits::default(),
        }
    }

    #[test]
    fn an_end_answers_for_what_it_holds_alone() {
        let tail = tail(10, &[12, 15, 20]);
        let newest = |after, upto, limit| {
            let found = tail.newest(Position(after), Position(upto), limit)?;
            Some(found.into_iter().cloned().collect::<Vec<_>>())
        };
        assert_eq!(newest(10, 20, 5).unwrap(), [id(20), id(15), id(12)]);
        assert_eq!(newest(12, 19, 5).unwrap(), [id(15)]);
        assert_eq!(newest(0, 20, 2).unwrap(), [id(20), id(15)]);
        assert_eq!(newest(9, 20, 5), None);
        assert_eq!(newest(0, 11, 1), None);
        assert!(newest(15, 15, 5).unwrap().is_empty());
    }

    #[test]
    fn an_end_grows_and_forgets_the_oldest() {
        let positions: Vec<u64> = (1..=16).collect();
        let grown = tail(0, &positions).and(added(30), Position(30));
        assert_eq!(grown.events.len(), KEPT);
        assert_eq!((grown.after, grown.upto), (Position(1), Position(30)));
        let few = tail(0, &[1]).and(added(2), Position(2));
        assert_eq!(few, tail(0, &[1, 2]));
    }

    #[test]
    fn a_commit_on_another_head_is_not_taken_in() {
        let tails = Tails::default();
        let room = ruma::room_id!("!a:b");
        tails.0.insert(room.to_owned(), Arc::new(tail(0, &[1, 2])));
        tails.extend(room, Position(1), added(5));
        assert_eq!(tails.0.get(room).unwrap().upto, Position(2));
        tails.extend(room, Position(2), added(5));
        assert_eq!(*tails.0.get(room).unwrap(), tail(0, &[1, 2, 5]));
    }
}
