//! Owns what the state of a room was before and after an event as this server saw it, where that is not what the event
//! saw: events of other branches come between others, and the state that follows is one that several branches gave. Must
//! never be asked what an event itself saw: the event says that.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#room-state-resolution>

use hearth_store::{Family, Position, Table, View};

use crate::{Error, Rooms, StoredEvent, plan::Plan, state::Root};

/// (room, position) to the state of the room before and after the event there. Only where one is not the event's own.
pub(crate) const FORKS: Table<(String, Position), (Root, Root)> =
    Table::new(142, "forks", Family::Index);

impl Rooms {
    /// The state that the room had here when the event came in.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn current_before(&self, view: &View, event: &StoredEvent) -> Result<Root, Error> {
        let key = (event.pdu.room_id().as_str(), event.position);
        let fork = view.get(&FORKS, key).await?;
        Ok(fork.map_or(event.state_before, |(before, _)| before))
    }

    /// The state that the room had here once the event had come in.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn current_after(&self, view: &View, event: &StoredEvent) -> Result<Root, Error> {
        let key = (event.pdu.room_id().as_str(), event.position);
        let fork = view.get(&FORKS, key).await?;
        Ok(fork.map_or(event.state_after, |(_, after)| after))
    }
}

impl Plan {
    /// Notes what the room was before and after the event, if the event does not say so itself.
    pub(crate) fn note_fork(&mut self, event: &StoredEvent, before: Root) {
        let after = self.head.state;
        let key = (event.pdu.room_id().as_str(), event.position);
        if before != event.state_before || after != event.state_after {
            self.batch.put(&FORKS, key, (before, after));
            // What follows may leave nothing else that leads to them.
            self.kept_roots.extend([before, after]);
        } else if self.is_replaying {
            self.batch.delete(&FORKS, key);
        }
    }
}
