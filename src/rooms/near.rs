//! Owns finding the event that is nearest to a time. Must never show one that its reader may not see.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use std::sync::Arc;

use hearth_protocol::Depth;
use hearth_store::{Direction, Position, View};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedServerName, RoomId, UserId};

use crate::{Error, Rooms, StoredEvent, timeline::DEPTHS};

/// How many events near a time are looked at.
const LOOKED_AT: usize = 100;

/// How many other servers are asked.
const MAX_SERVERS: usize = 3;

impl Rooms {
    /// The event of the room nearest to a time, on the side that `direction` names. Where this server does not know all of
    /// the history, other servers are asked, and what they name is taken in.
    ///
    /// # Errors
    /// `Forbidden` when the reader never took part and the room is not open to all; `NotFound` when there is none.
    pub async fn event_near(
        &self,
        view: &View,
        reader: &UserId,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Arc<StoredEvent>, Error> {
        self.check_peek(view, reader, room_id).await?;
        let mut nearest = None;
        for event in self.events_near(view, room_id, time, direction).await? {
            if self.visible(view, reader, &event).await? {
                nearest = Some(event);
                break;
            }
        }
        if self.has_gap(view, room_id, Depth(0), Depth::MAX).await? {
            let known = nearest.as_ref().map(|event| event.pdu.origin_server_ts());
            let asked = (time, direction, known);
            if let Some(event) = self.near_elsewhere(view, room_id, asked).await? {
                let view = self.0.store.view().await?;
                if self.visible(&view, reader, &event).await? {
                    nearest = Some(event);
                }
            }
        }
        nearest.ok_or_else(|| Error::not_found("there is no event on that side"))
    }

    /// What other servers in the room name, if it is nearer than what is known.
    async fn near_elsewhere(
        &self,
        view: &View,
        room_id: &RoomId,
        (time, direction, known): (
            MilliSecondsSinceUnixEpoch,
            Direction,
            Option<MilliSecondsSinceUnixEpoch>,
        ),
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Ok(remote) = self.remote() else {
            return Ok(None);
        };
        let mut servers = self.servers(view, room_id, MAX_SERVERS + 1).await?;
        servers.retain(|server| server != self.server_name());
        for server in servers.into_iter().take(MAX_SERVERS) {
            let (id, at) = match remote.event_near(&server, room_id, time, direction).await {
                Ok(named) => named,
                Err(error) => {
                    tracing::debug!(%room_id, %server, %error, "no event near a time");
                    continue;
                }
            };
            let is_nearer = match direction {
                Direction::Forward => at >= time && known.is_none_or(|known| at < known),
                Direction::Backward => at <= time && known.is_none_or(|known| at > known),
            };
            if !is_nearer {
                continue;
            }
            if let Err(error) = self.take_history(view, &server, room_id, &id).await {
                tracing::debug!(%room_id, %server, %error, "an event near a time is not given");
                continue;
            }
            let view = self.0.store.view().await?;
            let event = self.event(&view, &id).await?;
            let event = event.filter(|event| {
                !event.is_outlier() && !event.pdu.is_rejected() && event.pdu.room_id() == room_id
            });
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Takes in an event of before, with some of what came before it.
    async fn take_history(
        &self,
        view: &View,
        server: &OwnedServerName,
        room_id: &RoomId,
        id: &ruma::EventId,
    ) -> Result<(), Error> {
        let known = self.event(view, id).await?;
        if known.is_some_and(|event| !event.is_outlier()) {
            return Ok(());
        }
        self.fill_from(view, server, room_id, &[(0, id.to_owned())])
            .await
            .map(|_| ())
    }

    /// The events of the room on the side of a time that `direction` names, the nearest first, a hundred at most.
    pub(crate) async fn events_near(
        &self,
        view: &View,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        // Times rise with depths except where clocks are wrong, so a bisection over depths finds the place: the lowest
        // depth whose newest event is not older.
        let head = self.known_head(view, room_id).await?;
        let (mut low, mut high) = (0, head.depth.0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let newest = self
                .at_depths(view, room_id, (0, middle), Direction::Backward, 1)
                .await?;
            match newest.first() {
                Some(event) if event.pdu.origin_server_ts() >= time => high = middle,
                _ => low = middle + 1,
            }
        }
        let depths = match direction {
            Direction::Forward => (low, u64::MAX - 1),
            // Several events may have the depth at which the times change sides.
            Direction::Backward => (0, low),
        };
        let mut near = self
            .at_depths(view, room_id, depths, direction, LOOKED_AT)
            .await?;
        near.retain(|event| match direction {
            Direction::Forward => event.pdu.origin_server_ts() >= time,
            Direction::Backward => event.pdu.origin_server_ts() <= time,
        });
        Ok(near)
    }

    /// The events with a depth from `low` to `high`, `limit` at most, from the end that `direction` names.
    async fn at_depths(
        &self,
        view: &View,
        room_id: &RoomId,
        (low, high): (u64, u64),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let room = room_id.as_str();
        let range = (room, low, Position::ZERO)..(room, high.saturating_add(1), Position::ZERO);
        let found = view.scan(&DEPTHS, range, direction, limit).await?;
        self.named(view, found.into_iter().map(|(_, id)| id)).await
    }
}
