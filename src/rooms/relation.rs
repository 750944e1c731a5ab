//! Owns relations between events: which event refers to which, reactions, threads. Must never look into encrypted
//! content; `m.relates_to` is outside of it.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events>

use std::sync::Arc;

use hearth_store::{Direction, Family, Part, Position, ReadPart, Reader, Table, View, Writer};
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Place, Rooms, StoredEvent, timeline::parse_id};

/// (room, parent, position of the child) to the child.
pub(crate) const RELATIONS: Table<(String, String, Position), Related> =
    Table::new(96, "relations", Family::Index);

/// (parent, sender, type and key of a reaction) to the reaction.
pub(crate) const ANNOTATIONS: Table<(String, String, String), String> =
    Table::new(97, "annotations", Family::Index);

/// (room, thread root) to thread.
pub(crate) const THREADS: Table<(String, String), Thread> =
    Table::new(98, "threads", Family::Records);

/// (room, position of the newest reply, root).
pub(crate) const THREAD_ORDER: Table<(String, Position, String), ()> =
    Table::new(99, "thread_order", Family::Index);

/// (thread root, user): who replied.
pub(crate) const THREAD_USERS: Table<(String, String), ()> =
    Table::new(100, "thread_users", Family::Index);

/// How many children are looked at for a page of relations, so that a filter that fits none ends.
const MAX_LOOKED_AT: usize = 2000;

/// An entry of the index of relations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Related {
    pub(crate) rel_type: String,
    pub(crate) event_type: String,
    pub(crate) event_id: String,
}

impl Part for Related {
    fn write(&self, w: &mut Writer) {
        (&self.rel_type, &self.event_type, &self.event_id).write(w);
    }
}

impl ReadPart for Related {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (rel_type, event_type, event_id) = ReadPart::read(r)?;
        Ok(Self {
            rel_type,
            event_type,
            event_id,
        })
    }
}

/// What is known of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// How many replies it has.
    pub count: u64,
    /// The position of the newest reply.
    pub latest: Position,
    /// The newest reply.
    pub latest_id: OwnedEventId,
}

impl Part for Thread {
    fn write(&self, w: &mut Writer) {
        (self.count, self.latest, self.latest_id.as_str()).write(w);
    }
}

impl ReadPart for Thread {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (count, latest, id) = <(u64, Position, String)>::read(r)?;
        Ok(Self {
            count,
            latest,
            latest_id: OwnedEventId::try_from(id)
                .map_err(|e| hearth_store::Error::Corrupt(e.to_string()))?,
        })
    }
}

/// What the content of an event says about its relation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RelatesTo {
    pub(crate) rel_type: Option<String>,
    pub(crate) event_id: Option<OwnedEventId>,
    pub(crate) key: Option<String>,
}

/// The relation that the content names; nothing if it names none, or not in the form that it should have.
pub(crate) fn relation_of(content: &RawValue) -> Option<(String, OwnedEventId, Option<String>)> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "m.relates_to", borrow)]
        relates_to: Option<&'a RawValue>,
    }
    // Most events relate to none, which a search tells without parsing.
    if !content.get().contains("m.relates_to") {
        return None;
    }
    let content: Content<'_> = serde_json::from_str(content.get()).ok()?;
    let relation: RelatesTo = serde_json::from_str(content.relates_to?.get()).ok()?;
    Some((relation.rel_type?, relation.event_id?, relation.key))
}

/// Which relations are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelationFilter<'a> {
    /// Only those of this relation type, for example `m.thread`.
    pub rel_type: Option<&'a str>,
    /// Only those of this event type.
    pub event_type: Option<&'a str>,
    /// Also the children of children, three levels deep.
    pub recurse: bool,
}

/// A page of events that are not neighbours in the timeline. The tokens are positions as text.
#[derive(Clone, Debug, Default)]
pub struct RelationPage {
    /// The events.
    pub events: Vec<Arc<StoredEvent>>,
    /// Where the next page starts; nothing when there is no more.
    pub next: Option<Place>,
    /// How deep the recursion went, where it was asked for.
    pub depth: u8,
}

/// How deep a recursion over relations goes.
const MAX_RECURSION: u8 = 3;

impl Rooms {
    /// The events that refer to `parent` and that `reader` may see, between `from` and `to`.
    ///
    /// # Errors
    /// `NotFound` when the reader may not see the parent.
    #[allow(clippy::too_many_arguments)]
    pub async fn relations(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        parent: &EventId,
        filter: RelationFilter<'_>,
        (from, to): (Option<Place>, Option<Place>),
        direction: Direction,
        limit: usize,
    ) -> Result<RelationPage, Error> {
        self.visible_event(view, reader, room_id, parent).await?;
        let head = self.known_head(view, room_id).await?;
        let limit = limit.clamp(1, crate::MAX_PAGE);
        let (low, high) = match direction {
            Direction::Forward => (from, to),
            Direction::Backward => (to, from),
        };
        let low = low.map_or(Position::ZERO, |place| place.position).next();
        let high = high.map_or(Position::MAX, |place| place.position.next());
        let mut found = self
            .children(view, room_id, parent, (low, high), direction)
            .await?;
        let mut depth = 1;
        if filter.recurse {
            let mut level: Vec<String> = found.iter().map(|(_, r)| r.event_id.clone()).collect();
            while depth < MAX_RECURSION && !level.is_empty() && found.len() < MAX_LOOKED_AT {
                let mut next = Vec::new();
                for child in &level {
                    let child = parse_id(child.clone())?;
                    let more = self
                        .children(view, room_id, &child, (low, high), direction)
                        .await?;
                    next.extend(more.iter().map(|(_, r)| r.event_id.clone()));
                    found.extend(more);
                    if found.len() >= MAX_LOOKED_AT {
                        break;
                    }
                }
                level = next;
                depth += 1;
            }
            found.sort_by_key(|(position, _)| *position);
            if direction == Direction::Backward {
                found.reverse();
            }
        }
        found.retain(|(_, related)| {
            filter.rel_type.is_none_or(|t| t == related.rel_type)
                && filter.event_type.is_none_or(|t| t == related.event_type)
        });
        let more = found.len() > limit;
        found.truncate(limit);
        let ids = found.into_iter().map(|(_, related)| related.event_id);
        let mut events = self.named(view, ids).await?;
        let next = events.last().filter(|_| more).map(|last| match direction {
            Direction::Forward => last.place(),
            Direction::Backward => last.place().before(),
        });
        self.retain_visible(view, &head, reader, &mut events)
            .await?;
        Ok(RelationPage {
            events,
            next,
            depth,
        })
    }

    /// The entries of the index under `parent`, a bounded number of them.
    pub(crate) async fn children(
        &self,
        view: &View,
        room_id: &RoomId,
        parent: &EventId,
        (low, high): (Position, Position),
        direction: Direction,
    ) -> Result<Vec<(Position, Related)>, Error> {
        let key = |position: Position| (room_id.as_str(), parent.as_str(), position);
        let found = view
            .scan(&RELATIONS, key(low)..key(high), direction, MAX_LOOKED_AT)
            .await?;
        Ok(found
            .into_iter()
            .map(|((_, _, position), related)| (position, related))
            .collect())
    }

    /// What is known of the thread under `root`; nothing if nobody replied.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn thread(
        &self,
        view: &View,
        room_id: &RoomId,
        root: &EventId,
    ) -> Result<Option<Thread>, Error> {
        Ok(view
            .get(&THREADS, (room_id.as_str(), root.as_str()))
            .await?)
    }

    /// Whether the user wrote in the thread: its root or a reply.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn participates(
        &self,
        view: &View,
        root: &StoredEvent,
        user: &UserId,
    ) -> Result<bool, Error> {
        if root.pdu.sender() == user {
            return Ok(true);
        }
        let key = (root.event_id().as_str(), user.as_str());
        Ok(view.get(&THREAD_USERS, key).await?.is_some())
    }

    /// The roots of the room's threads, the one with the newest reply first, that `reader` may see; with `participated`
    /// only those in which they wrote.
    ///
    /// # Errors
    /// `Forbidden` when the reader may not look into the room.
    pub async fn threads(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        participated: bool,
        from: Option<Place>,
        limit: usize,
    ) -> Result<RelationPage, Error> {
        self.check_peek(view, reader, room_id).await?;
        let limit = limit.clamp(1, crate::MAX_PAGE);
        let high = from.map_or(Position::MAX, |place| place.position.next());
        let range = (room_id.as_str(), Position::ZERO)..(room_id.as_str(), high);
        let found: Vec<((String, Position, String), ())> = view
            .scan(&THREAD_ORDER, range, Direction::Backward, MAX_LOOKED_AT)
            .await?;
        let mut page = RelationPage::default();
        for ((_, position, root), ()) in found {
            if page.events.len() == limit {
                page.next = Some(Place {
                    depth: Place::END.depth,
                    position,
                });
                break;
            }
            let root = self.known_event(view, &parse_id(root)?).await?;
            // Replies of one batch to one thread leave older places behind.
            let thread = self.thread(view, room_id, root.event_id()).await?;
            if thread.is_none_or(|thread| thread.latest != position) {
                continue;
            }
            if participated && !self.participates(view, &root, reader).await? {
                continue;
            }
            if self.visible(view, reader, &root).await? {
                page.events.push(root);
            }
        }
        Ok(page)
    }
}
