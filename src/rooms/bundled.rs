//! Owns bundled aggregations: what an event shows of those that refer to it. Must never show what the reader may not see.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#aggregations-of-child-events>

use std::sync::Arc;

use hearth_protocol::{ClientEvent, Unsigned};
use hearth_store::{Direction, Position, View};
use ruma::UserId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, Head, Rooms, StoredEvent, relation::Related, timeline::parse_id};

/// How many edits by others are passed over in the search for the newest.
const MAX_EDITS: usize = 20;

#[derive(Serialize)]
struct Relations<'a> {
    #[serde(rename = "m.replace", skip_serializing_if = "Option::is_none")]
    replace: Option<ClientEvent<'a>>,
    #[serde(rename = "m.thread", skip_serializing_if = "Option::is_none")]
    thread: Option<&'a RawValue>,
    #[serde(rename = "m.reference", skip_serializing_if = "Option::is_none")]
    reference: Option<References>,
}

#[derive(Serialize)]
struct ThreadSummary<'a> {
    latest_event: ClientEvent<'a>,
    count: u64,
    current_user_participated: bool,
}

#[derive(Serialize)]
struct References {
    chunk: Vec<Reference>,
}

#[derive(Serialize)]
struct Reference {
    event_id: String,
}

impl Rooms {
    /// What belongs under `m.relations` in the `unsigned` of an event of a room with this head; nothing if nothing does.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn bundled(
        &self,
        view: &View,
        reader: &UserId,
        head: &Head,
        event: &StoredEvent,
    ) -> Result<Option<Box<RawValue>>, Error> {
        if event.pdu.is_state()
            || event.redacted_by.is_some()
            || self.is_childless(view, head, event).await?
        {
            return Ok(None);
        }
        let all = (Position::ZERO, Position::MAX);
        let children = self
            .children(
                view,
                event.pdu.room_id(),
                event.event_id(),
                all,
                Direction::Backward,
            )
            .await?;
        if children.is_empty() {
            return Ok(None);
        }
        let edit = self.newest_edit(view, event, &children).await?;
        let thread = self.thread_form(view, reader, event, &children).await?;
        let references: Vec<_> = children
            .iter()
            .rev()
            .filter(|(_, related)| related.rel_type == "m.reference")
            .map(|(_, related)| Reference {
                event_id: related.event_id.clone(),
            })
            .collect();
        let relations = Relations {
            replace: edit
                .as_ref()
                .map(|edit| ClientEvent::new(&edit.pdu, true, None)),
            thread: thread.as_deref(),
            reference: (!references.is_empty()).then_some(References { chunk: references }),
        };
        if relations.replace.is_none()
            && relations.thread.is_none()
            && relations.reference.is_none()
        {
            return Ok(None);
        }
        Ok(to_raw_value(&relations).ok())
    }

    /// Whether it is known that no event refers to `event`, without looking for any.
    async fn is_childless(
        &self,
        view: &View,
        head: &Head,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        let traits = self.traits(view, event.pdu.room_id(), head).await?;
        // Nobody can refer to an event of here before it is there; the child of another server's may have come first.
        Ok(traits
            .related
            .is_none_or(|related| related < event.position && self.is_local(event.pdu.sender())))
    }

    /// The thread of which the event is the root: its newest reply with that one's edit, and how many there are.
    async fn thread_form(
        &self,
        view: &View,
        reader: &UserId,
        event: &StoredEvent,
        children: &[(Position, Related)],
    ) -> Result<Option<Box<RawValue>>, Error> {
        let Some((latest, count)) = self.newest_reply(view, event, children).await? else {
            return Ok(None);
        };
        let (room_id, id) = (latest.pdu.room_id(), latest.event_id());
        let all = (Position::ZERO, Position::MAX);
        let below = self
            .children(view, room_id, id, all, Direction::Backward)
            .await?;
        let edit = self.newest_edit(view, &latest, &below).await?;
        let relations = edit.as_ref().and_then(|edit| {
            to_raw_value(&Relations {
                replace: Some(ClientEvent::new(&edit.pdu, true, None)),
                thread: None,
                reference: None,
            })
            .ok()
        });
        let unsigned = relations.as_deref().map(|relations| Unsigned {
            relations: Some(relations),
            ..Unsigned::default()
        });
        Ok(to_raw_value(&ThreadSummary {
            latest_event: ClientEvent::new(&latest.pdu, true, unsigned),
            count,
            current_user_participated: self.participates(view, event, reader).await?,
        })
        .ok())
    }

    /// The newest edit of the event: of the same type and by the same user, as the specification demands.
    async fn newest_edit(
        &self,
        view: &View,
        event: &StoredEvent,
        children: &[(Position, Related)],
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let edits = children.iter().filter(|(_, related)| {
            related.rel_type == "m.replace" && related.event_type == event.pdu.event_type()
        });
        for (_, related) in edits.take(MAX_EDITS) {
            let edit = self
                .known_event(view, &parse_id(related.event_id.clone())?)
                .await?;
            if edit.pdu.sender() == event.pdu.sender() && edit.redacted_by.is_none() {
                return Ok(Some(edit));
            }
        }
        Ok(None)
    }

    /// The newest reply in the event's thread and how many there are.
    async fn newest_reply(
        &self,
        view: &View,
        event: &StoredEvent,
        children: &[(Position, Related)],
    ) -> Result<Option<(Arc<StoredEvent>, u64)>, Error> {
        if !children
            .iter()
            .any(|(_, related)| related.rel_type == "m.thread")
        {
            return Ok(None);
        }
        let thread = self
            .thread(view, event.pdu.room_id(), event.event_id())
            .await?;
        match thread {
            Some(thread) => Ok(Some((
                self.known_event(view, &thread.latest_id).await?,
                thread.count,
            ))),
            None => Ok(None),
        }
    }
}
