//! Owns the form of an answer: results with what surrounds them, groups, and the state of their rooms.

use std::collections::BTreeMap;

use hearth_rooms::{Match, StoredEvent};
use hearth_store::{Direction, View};
use hearth_users::Session;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId,
    api::client::search::search_events::v3::{Criteria, EventContext, GroupingKey},
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::{Deserialize, Serialize};

use crate::{App, error::Error, show};

/// Events before and after a result at most.
const MAX_AROUND: usize = 50;
/// Rooms whose state is told at most.
const MAX_STATES: usize = 10;

/// The results of one category.
#[derive(Default, Serialize)]
pub(super) struct RoomEvents {
    pub(super) count: usize,
    pub(super) highlights: Vec<String>,
    pub(super) results: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_batch: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) groups: BTreeMap<&'static str, BTreeMap<String, Group>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) state: BTreeMap<OwnedRoomId, Vec<Raw<AnyStateEvent>>>,
}

/// A result.
#[derive(Serialize)]
pub(super) struct Shown {
    rank: f64,
    result: Raw<AnyTimelineEvent>,
    context: Around,
}

/// What surrounds a result.
#[derive(Serialize)]
struct Around {
    events_before: Vec<Raw<AnyTimelineEvent>>,
    events_after: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    profile_info: BTreeMap<OwnedUserId, Face>,
}

/// How a sender was shown.
#[derive(Deserialize, Serialize)]
struct Face {
    #[serde(skip_serializing_if = "Option::is_none")]
    displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

/// Results that belong together.
#[derive(Default, Serialize)]
pub(super) struct Group {
    order: usize,
    results: Vec<OwnedEventId>,
}

/// What every part of an answer needs.
pub(super) struct Telling<'a> {
    pub(super) app: &'a App,
    pub(super) view: &'a View,
    pub(super) session: &'a Session,
    pub(super) criteria: &'a Criteria,
}

impl Telling<'_> {
    pub(super) async fn results(&self, matches: &[Match]) -> Result<Vec<Shown>, Error> {
        let mut results = Vec::with_capacity(matches.len());
        for found in matches {
            results.push(Shown {
                rank: found.rank,
                result: show::event(self.app, self.view, self.session, &found.event).await?,
                context: self.around(&found.event).await?,
            });
        }
        Ok(results)
    }

    async fn around(&self, event: &StoredEvent) -> Result<Around, Error> {
        let EventContext {
            before_limit,
            after_limit,
            include_profile,
            ..
        } = self.criteria.event_context;
        let (back, forth) = (event.place().before(), event.place());
        let before = self
            .side(event, back, Direction::Backward, before_limit)
            .await?;
        let after = self
            .side(event, forth, Direction::Forward, after_limit)
            .await?;
        // Anew: where other servers filled a gap, a side holds what an earlier view lacks.
        let view = self.app.store.view().await?;
        let mut profile_info = BTreeMap::new();
        if include_profile {
            let all = before.0.iter().chain(&after.0).map(|event| &**event);
            for event in all.chain([event]) {
                let sender = event.pdu.sender().to_owned();
                if !profile_info.contains_key(&sender)
                    && let Some(face) = self.face(&view, event).await?
                {
                    profile_info.insert(sender, face);
                }
            }
        }
        let (app, view, session) = (self.app, &view, self.session);
        Ok(Around {
            events_before: show::timeline(app, view, session, &before.0).await?,
            events_after: show::timeline(app, view, session, &after.0).await?,
            start: Some(before.1),
            end: Some(after.1),
            profile_info,
        })
    }

    /// The events on one side of a result, from it away, and the token with which pages go on.
    async fn side(
        &self,
        event: &StoredEvent,
        from: hearth_rooms::Place,
        direction: Direction,
        limit: ruma::UInt,
    ) -> Result<(Vec<std::sync::Arc<StoredEvent>>, String), Error> {
        let limit = usize::try_from(u64::from(limit)).map_or(MAX_AROUND, |n| n.min(MAX_AROUND));
        if limit == 0 {
            return Ok((Vec::new(), from.to_string()));
        }
        let (view, reader, room) = (self.view, &self.session.user_id, event.pdu.room_id());
        let page = self
            .app
            .rooms
            .page(
                view,
                reader,
                room,
                (Some(from), None),
                direction,
                limit,
                |_| true,
            )
            .await?;
        Ok((page.events, page.end.unwrap_or(from).to_string()))
    }

    async fn face(&self, view: &View, event: &StoredEvent) -> Result<Option<Face>, Error> {
        let rooms = &self.app.rooms;
        let Some(head) = rooms.head(view, event.pdu.room_id()).await? else {
            return Ok(None);
        };
        let (root, sender) = (event.state_before, event.pdu.sender().as_str());
        let member = rooms
            .state_event(view, &head, root, "m.room.member", sender)
            .await?;
        Ok(member.and_then(|member| serde_json::from_str(member.pdu.content().get()).ok()))
    }

    pub(super) fn groups(
        &self,
        matches: &[Match],
    ) -> BTreeMap<&'static str, BTreeMap<String, Group>> {
        let mut groups = BTreeMap::new();
        for grouping in &self.criteria.groupings.group_by {
            let (name, by_room) = match grouping.key {
                Some(GroupingKey::RoomId) => ("room_id", true),
                Some(GroupingKey::Sender) => ("sender", false),
                _ => continue,
            };
            let mut of_kind: BTreeMap<String, Group> = BTreeMap::new();
            for found in matches {
                let pdu = &found.event.pdu;
                let key = match by_room {
                    true => pdu.room_id().to_string(),
                    false => pdu.sender().to_string(),
                };
                let order = of_kind.len() + 1;
                let group = of_kind.entry(key).or_insert_with(|| Group {
                    order,
                    results: Vec::new(),
                });
                group.results.push(pdu.event_id().to_owned());
            }
            groups.insert(name, of_kind);
        }
        groups
    }

    /// The state of the rooms of the results, as the user may read it.
    pub(super) async fn state(
        &self,
        matches: &[Match],
    ) -> Result<BTreeMap<OwnedRoomId, Vec<Raw<AnyStateEvent>>>, Error> {
        let mut states = BTreeMap::new();
        if self.criteria.include_state != Some(true) {
            return Ok(states);
        }
        for found in matches {
            let room = found.event.pdu.room_id();
            if states.contains_key(room) || states.len() == MAX_STATES {
                continue;
            }
            let (rooms, view) = (&self.app.rooms, self.view);
            let (head, root) = rooms
                .readable_state(view, &self.session.user_id, room)
                .await?;
            let events = rooms.full_state(view, &head, root, None).await?;
            let shown = events
                .iter()
                .map(|event| show::plain(self.app, self.session, event));
            states.insert(room.to_owned(), shown.collect());
        }
        Ok(states)
    }
}
