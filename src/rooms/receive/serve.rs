//! Owns what other servers may read of a room: states, what vouches for them, stretches of history. Must never give an
//! event whole to a server that the history settings keep from it.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#retrieving-events>

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hearth_protocol::{Pdu, redact};
use hearth_store::{Direction, View};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, ServerName, UserId,
    events::room::history_visibility::HistoryVisibility,
};

use crate::{Error, Head, Membership, Rooms, StoredEvent, membership_of};

/// How many events a stretch of history has at most.
const MAX_STRETCH: usize = 100;

/// How many events are looked at for one.
const MAX_LOOKED_AT: usize = 500;

/// How many events vouch for a state at most, as far as they are given.
const MAX_CHAIN: usize = 300_000;

/// How many events are looked at for one that put a server out.
const MAX_NAMED: usize = 20;

/// How many events are read together.
const TOGETHER: usize = 256;

/// A state and what vouches for it.
#[derive(Clone, Debug, Default)]
pub struct StateOf {
    /// The events of the state.
    pub state: Vec<Arc<StoredEvent>>,
    /// Their auth events, recursively, without those of the state.
    pub auth_chain: Vec<Arc<StoredEvent>>,
}

impl Rooms {
    /// The head of a room of which another server, which is in it, may ask what was. This one may have left: who came in through it
    /// then still gets what nobody else may have.
    ///
    /// # Errors
    /// `NotFound` for a room that is not known, `Forbidden` when the other server is not in it or may not take part.
    pub async fn head_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
    ) -> Result<Head, Error> {
        let head = self.open_head(view, origin, room_id).await?;
        if !self.is_server_in_room(view, origin, room_id).await? {
            return Err(Error::forbidden("your server is not in the room"));
        }
        Ok(head)
    }

    /// As [`Rooms::head_for`], also for a server whose user one of the events put out: it may learn what led to that.
    async fn head_for_ousted(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        events: &[OwnedEventId],
    ) -> Result<Head, Error> {
        let member = self.head_for(view, origin, room_id).await;
        let Err(Error::Forbidden(_)) = &member else {
            return member;
        };
        for id in events.iter().take(MAX_NAMED) {
            let Some(event) = self.event(view, id).await? else {
                continue;
            };
            let pdu = &event.pdu;
            let user = pdu.state_key().and_then(|user| UserId::parse(user).ok());
            if pdu.event_type() == "m.room.member"
                && pdu.room_id() == room_id
                && !pdu.is_rejected()
                && user.is_some_and(|user| user.server_name() == origin)
            {
                return self.open_head(view, origin, room_id).await;
            }
        }
        member
    }

    /// The head of a room that this server is in, for another that need not be.
    ///
    /// # Errors
    /// `NotFound` for a room that this server is not in, `Forbidden` when the other may not take part.
    pub(crate) async fn served_head(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
    ) -> Result<Head, Error> {
        let head = self.open_head(view, origin, room_id).await?;
        let own = self.server_name();
        match self.is_server_in_room(view, own, room_id).await? {
            true => Ok(head),
            false => Err(Error::not_found("this server is not in the room")),
        }
    }

    /// The head of a room that is known, for a server that may take part in it.
    async fn open_head(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
    ) -> Result<Head, Error> {
        let head = self.known_head(view, room_id).await?;
        if !self.may_take_part(view, &head, origin).await? {
            return Err(Error::forbidden(
                "the room does not let your server take part",
            ));
        }
        Ok(head)
    }

    /// The state of the room before an event.
    ///
    /// # Errors
    /// As [`Rooms::head_for`]; `NotFound` when the event, or where it stands, is not known.
    pub async fn state_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateOf, Error> {
        let head = self.head_for(view, origin, room_id).await?;
        let event = self.placed_event(view, room_id, event_id).await?;
        if self.has_partial_state(view, &event).await? {
            let reason = "the state before that event is not known whole yet";
            return Err(Error::forbidden(reason));
        }
        self.state_of(view, &head, event.state_before).await
    }

    pub(crate) async fn state_of(
        &self,
        view: &View,
        head: &Head,
        root: crate::Root,
    ) -> Result<StateOf, Error> {
        let state = self.full_state(view, head, root, None).await?;
        let auth_chain = self.auth_chain(view, &state).await?;
        Ok(StateOf { state, auth_chain })
    }

    /// What vouches for an event, recursively. Who was put out with it may ask, too.
    ///
    /// # Errors
    /// As [`Rooms::head_for`]; `NotFound` when the event is not known.
    pub async fn auth_chain_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        self.head_for_ousted(view, origin, room_id, &[event_id.to_owned()])
            .await?;
        let event = self.event_of(view, room_id, event_id).await?;
        self.auth_chain(view, &[event]).await
    }

    /// The auth events of these events, recursively, without themselves.
    pub(crate) async fn auth_chain(
        &self,
        view: &View,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut seen: HashSet<OwnedEventId> = events
            .iter()
            .map(|event| event.event_id().to_owned())
            .collect();
        let mut open: Vec<OwnedEventId> = Vec::new();
        let visit = |event: &StoredEvent, seen: &mut HashSet<_>, open: &mut Vec<_>| {
            for id in event.pdu.auth_events() {
                if seen.insert(id.clone()) {
                    open.push(id.clone());
                }
            }
        };
        for event in events {
            visit(event, &mut seen, &mut open);
        }
        let mut chain = Vec::new();
        while !open.is_empty() && chain.len() < MAX_CHAIN {
            let next = open.split_off(open.len().saturating_sub(TOGETHER));
            for id in next {
                // One that is missing was missing when the event came in, which was rejected for it.
                if let Some(event) = self.event(view, &id).await? {
                    visit(&event, &mut seen, &mut open);
                    chain.push(event);
                }
            }
        }
        Ok(chain)
    }

    /// An event, as the server may see it.
    ///
    /// # Errors
    /// As [`Rooms::head_for`]; `NotFound` when the event is not known.
    pub async fn event_for(
        &self,
        view: &View,
        origin: &ServerName,
        event_id: &EventId,
    ) -> Result<Pdu, Error> {
        let event = self.event(view, event_id).await?;
        let event = event
            .filter(|event| !event.pdu.is_rejected())
            .ok_or_else(|| Error::not_found("there is no such event"))?;
        let head = self.head_for(view, origin, event.pdu.room_id()).await?;
        self.shown_to(view, &head, origin, &event)
            .await?
            .ok_or_else(|| Error::not_found("it is not known yet whether you may see that event"))
    }

    /// The event of the room nearest to a time, on the side that `direction` names.
    ///
    /// # Errors
    /// As [`Rooms::head_for`]; `NotFound` when there is none.
    pub async fn event_near_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Arc<StoredEvent>, Error> {
        let head = self.head_for(view, origin, room_id).await?;
        for event in self.events_near(view, room_id, time, direction).await? {
            if self
                .is_visible_to_server(view, &head, origin, &event)
                .await?
            {
                return Ok(event);
            }
        }
        Err(Error::not_found("there is no event on that side"))
    }

    /// The events that lie between `earliest` and `latest`, oldest first, `limit` at most. Who was put out with one of the
    /// latest may ask, too.
    ///
    /// # Errors
    /// As [`Rooms::head_for`].
    pub async fn missing_events_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        (earliest, latest): (&[OwnedEventId], &[OwnedEventId]),
        limit: usize,
    ) -> Result<Vec<Pdu>, Error> {
        let head = self.head_for_ousted(view, origin, room_id, latest).await?;
        let mut seen: HashSet<OwnedEventId> = earliest.iter().chain(latest).cloned().collect();
        let mut starts = Vec::new();
        for id in latest {
            starts.extend(self.event(view, id).await?);
        }
        let mut walk = BTreeSet::new();
        for start in starts.iter().filter(|event| event.pdu.room_id() == room_id) {
            self.step_back(view, start, &mut seen, &mut walk).await?;
        }
        self.walk_back(view, &head, origin, (seen, walk), limit)
            .await
    }

    /// The events of `from` and those before them, newest first, `limit` at most.
    ///
    /// # Errors
    /// As [`Rooms::head_for`].
    pub async fn backfill_for(
        &self,
        view: &View,
        origin: &ServerName,
        room_id: &RoomId,
        from: &[OwnedEventId],
        limit: usize,
    ) -> Result<Vec<Pdu>, Error> {
        let head = self.head_for(view, origin, room_id).await?;
        let mut walk = BTreeSet::new();
        let mut seen = HashSet::new();
        for id in from {
            if let Some(event) = self.event(view, id).await?
                && event.pdu.room_id() == room_id
                && !event.is_outlier()
                && seen.insert(id.clone())
            {
                walk.insert((event.pdu.depth(), id.clone()));
            }
        }
        let mut events = self
            .walk_back(view, &head, origin, (seen, walk), limit)
            .await?;
        events.reverse();
        Ok(events)
    }

    /// Walks back from the deepest event on; gives what was met, oldest first.
    async fn walk_back(
        &self,
        view: &View,
        head: &Head,
        origin: &ServerName,
        (mut seen, mut walk): (
            HashSet<OwnedEventId>,
            BTreeSet<(hearth_protocol::Depth, OwnedEventId)>,
        ),
        limit: usize,
    ) -> Result<Vec<Pdu>, Error> {
        let limit = limit.min(MAX_STRETCH);
        let mut met = Vec::new();
        let mut looked_at = 0;
        while let Some((_, id)) = walk.pop_last() {
            looked_at += 1;
            if met.len() >= limit || looked_at > MAX_LOOKED_AT {
                break;
            }
            let Some(event) = self.event(view, &id).await? else {
                continue;
            };
            if event.pdu.is_rejected() {
                continue;
            }
            self.step_back(view, &event, &mut seen, &mut walk).await?;
            met.extend(self.shown_to(view, head, origin, &event).await?);
        }
        met.reverse();
        Ok(met)
    }

    /// Puts the events before this one on the list.
    async fn step_back(
        &self,
        view: &View,
        event: &StoredEvent,
        seen: &mut HashSet<OwnedEventId>,
        walk: &mut BTreeSet<(hearth_protocol::Depth, OwnedEventId)>,
    ) -> Result<(), Error> {
        for id in event.pdu.prev_events() {
            if seen.insert(id.clone())
                && let Some(earlier) = self.event(view, id).await?
                && !earlier.is_outlier()
                && earlier.pdu.room_id() == event.pdu.room_id()
            {
                walk.insert((earlier.pdu.depth(), id.clone()));
            }
        }
        Ok(())
    }

    /// The event, without its content if the server may not see it; nothing where that depends on members who are not known.
    pub(crate) async fn shown_to(
        &self,
        view: &View,
        head: &Head,
        server: &ServerName,
        event: &StoredEvent,
    ) -> Result<Option<Pdu>, Error> {
        if event.pdu.sender().server_name() == server
            || event.is_outlier()
            || self.is_visible_to_server(view, head, server, event).await?
        {
            return Ok(Some(event.pdu.clone()));
        }
        if self.has_partial_state(view, event).await? {
            return Ok(None);
        }
        Ok(Some(redact(&event.pdu, head.version, None)?))
    }

    async fn is_visible_to_server(
        &self,
        view: &View,
        head: &Head,
        server: &ServerName,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        let setting = self.visibility_at(view, head, event.state_before).await?;
        let enough: &[Membership] = match setting {
            HistoryVisibility::WorldReadable | HistoryVisibility::Shared => return Ok(true),
            HistoryVisibility::Invited => &[Membership::Join, Membership::Invite],
            _ => &[Membership::Join],
        };
        let members = self
            .state_ids(view, head, event.state_before, Some("m.room.member"))
            .await?;
        let theirs = members.into_iter().filter(|(_, user, _)| {
            UserId::parse(user).is_ok_and(|user| user.server_name() == server)
        });
        for (_, _, id) in theirs {
            let member = self.known_event(view, &id).await?;
            if enough.contains(&membership_of(member.pdu.content().get())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn event_of(
        &self,
        view: &View,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        self.event(view, event_id)
            .await?
            .filter(|event| event.pdu.room_id() == room_id)
            .ok_or_else(|| Error::not_found("there is no such event in the room"))
    }

    async fn placed_event(
        &self,
        view: &View,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        let event = self.event_of(view, room_id, event_id).await?;
        match event.is_outlier() {
            true => Err(Error::not_found("the state before that event is not known")),
            false => Ok(event),
        }
    }
}
