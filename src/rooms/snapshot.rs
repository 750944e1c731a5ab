//! Owns reading room states: one entry, all of them, the difference of two. Must never write one: the writer does.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#getting-events-for-a-room>

use std::sync::Arc;

use hearth_protocol::{Pdu, PowerLevels, strip};
use hearth_store::View;
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::{
    Error, Head, Rooms, StoredEvent,
    state::{Root, Which},
};

/// An entry of a state: type, state key and, unless it is not there, the event.
pub type StateChange = (String, String, Option<OwnedEventId>);

/// The state that somebody who is invited or looks in from outside is shown.
pub(crate) const STRIPPED: [&str; 8] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.history_visibility",
];

impl Rooms {
    /// The id of the event at a type and a state key of a state.
    pub(crate) async fn state_id(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<OwnedEventId>, Error> {
        Ok(self
            .0
            .tree
            .get(view, head.number, root, event_type, state_key)
            .await?)
    }

    /// The event at a type and a state key in the state `root` of a room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn state_event(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        match self
            .state_id(view, head, root, event_type, state_key)
            .await?
        {
            Some(id) => Ok(Some(self.known_event(view, &id).await?)),
            None => Ok(None),
        }
    }

    /// All events of the state `root`, or those of one type.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn full_state(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        event_type: Option<&str>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let ids = self.state_ids(view, head, root, event_type).await?;
        self.known_events(view, ids.into_iter().map(|(_, _, id)| id))
            .await
    }

    /// Type, state key and event id of all entries of the state `root`, or those of one type.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn state_ids(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        event_type: Option<&str>,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        let which = event_type.map_or(Which::All, Which::Of);
        Ok(self.0.tree.scan(view, head.number, root, which).await?)
    }

    /// As [`Rooms::state_ids`], without the entries of one type: cheap for `m.room.member`, however many there are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn state_ids_except(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        event_type: &str,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        let (tree, room) = (&self.0.tree, head.number);
        let which = Which::Except(event_type);
        Ok(tree.scan(view, room, root, which).await?)
    }

    /// What is different in the state `new` from the state `old`, in time proportional to the answer.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn state_diff(
        &self,
        view: &View,
        head: &Head,
        old: Root,
        new: Root,
    ) -> Result<Vec<StateChange>, Error> {
        let changes = self.0.tree.diff(view, head.number, old, new).await?;
        Ok(changes
            .into_iter()
            .map(|change| (change.event_type, change.state_key, change.new))
            .collect())
    }

    /// The state event that `event` replaced, for `unsigned`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn replaced(
        &self,
        view: &View,
        head: &Head,
        event: &StoredEvent,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some(state_key) = event.pdu.state_key() else {
            return Ok(None);
        };
        let (root, event_type) = (event.state_before, event.pdu.event_type());
        self.state_event(view, head, root, event_type, state_key)
            .await
    }

    /// What `user`, who is invited or knocks, is shown of the room, in the stripped form; their own member event and
    /// that of its sender included.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stripped_state(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        user: &UserId,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let mut shown = Vec::with_capacity(STRIPPED.len() + 2);
        for event_type in STRIPPED {
            if let Some(event) = self.state_event(view, head, root, event_type, "").await? {
                shown.push(strip(&event.pdu));
            }
        }
        let member = "m.room.member";
        if let Some(own) = self
            .state_event(view, head, root, member, user.as_str())
            .await?
        {
            let sender = own.pdu.sender();
            if sender != user
                && let Some(inviter) = self
                    .state_event(view, head, root, member, sender.as_str())
                    .await?
            {
                shown.push(strip(&inviter.pdu));
            }
            shown.push(strip(&own.pdu));
        }
        Ok(shown)
    }

    /// The power levels in the state `root`.
    ///
    /// # Errors
    /// `Malformed` when the room's event is none; those of the store.
    pub async fn power_levels(
        &self,
        view: &View,
        head: &Head,
        root: Root,
    ) -> Result<PowerLevels, Error> {
        let create = self
            .state_event(view, head, root, "m.room.create", "")
            .await?
            .ok_or_else(|| Error::corrupt("a room without a create event"))?;
        let levels = self
            .state_event(view, head, root, "m.room.power_levels", "")
            .await?;
        let levels: Option<&Pdu> = levels.as_ref().map(|event| &event.pdu);
        Ok(PowerLevels::of(head.version, &create.pdu, levels)?)
    }

    /// The current state that `reader` may read at a type and a state key: for `/rooms/{roomId}/state/…`. A user who left
    /// sees the state of that moment.
    ///
    /// # Errors
    /// `Forbidden` when the reader never took part and the room is not open to all, `NotFound` when it is not there.
    pub async fn readable_state_event(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Arc<StoredEvent>, Error> {
        let (head, root) = self.readable_state(view, reader, room_id).await?;
        self.state_event(view, &head, root, event_type, state_key)
            .await?
            .ok_or_else(|| Error::not_found("there is no such state"))
    }

    /// The head of the room and the state that `reader` may read: the current one, or that of their leaving.
    ///
    /// # Errors
    /// `Forbidden` when the reader never took part and the room is not open to all.
    pub async fn readable_state(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
    ) -> Result<(Head, Root), Error> {
        let left_with = self.check_peek(view, reader, room_id).await?;
        let head = self.known_head(view, room_id).await?;
        let root = match left_with {
            Some(event_id) => self.left_state(view, &event_id).await?,
            None => head.state,
        };
        Ok((head, root))
    }

    async fn left_state(&self, view: &View, event_id: &EventId) -> Result<Root, Error> {
        Ok(self.known_event(view, event_id).await?.state_after)
    }
}
