//! Owns filling gaps in the history of a room from other servers, when somebody reads back to one. Must never change what
//! the room is now: only what was.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{collections::HashSet, time::Duration};

use hearth_protocol::{Depth, Pdu};
use hearth_store::{CommitError, Direction, View};
use ruma::{OwnedEventId, OwnedServerName, RoomId};

use super::{history::GAPS, order::in_graph_order, states::StateList};
use crate::{
    Error, Rooms,
    plan::Plan,
    queue::{MAX_TRIES, commit},
    timeline::parse_id,
};

/// How many events are asked for.
const MAX_EVENTS: usize = 100;

/// How many gaps are asked about at once.
const MAX_GAPS: usize = 5;

/// How long it is waited for the members of a room, without which its history is not asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many servers are asked.
const MAX_SERVERS: usize = 3;

/// An event of before, and the state before it where the events before it are not known.
type Piece = (Pdu, Option<StateList>);

impl Rooms {
    /// Fills what it can of the gaps at or above which somebody reads back to `depth`; whether there is anything new.
    ///
    /// # Errors
    /// Those of the store. That no server answers is no error.
    pub(crate) async fn fill_gaps(
        &self,
        view: &View,
        room_id: &RoomId,
        depth: Depth,
    ) -> Result<bool, Error> {
        if self.remote().is_err() {
            return Ok(false);
        }
        let low = (room_id.as_str(), 0_u64, "");
        let high = (room_id.as_str(), depth.0.saturating_add(1), "");
        let found = view
            .scan(&GAPS, low..high, Direction::Backward, MAX_GAPS)
            .await?;
        if found.is_empty() {
            return Ok(false);
        }
        let mut gaps = Vec::with_capacity(found.len());
        for ((_, depth, id), ()) in found {
            gaps.push((depth, parse_id(id)?));
        }
        let mut servers = self.servers(view, room_id, MAX_SERVERS + 1).await?;
        servers.retain(|server| server != self.server_name());
        for server in servers {
            match self.fill_from(view, &server, room_id, &gaps).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => tracing::debug!(%room_id, %server, %error, "no history"),
            }
        }
        Ok(false)
    }

    pub(crate) async fn fill_from(
        &self,
        view: &View,
        server: &OwnedServerName,
        room_id: &RoomId,
        gaps: &[(u64, OwnedEventId)],
    ) -> Result<bool, Error> {
        let head = self.known_head(view, room_id).await?;
        // Before, the states of history would each be fetched whole. Then they differ little from one that is known.
        if !self.becomes_whole(room_id, PATIENCE).await? {
            return Ok(false);
        }
        let view = &self.0.store.view().await?;
        let from = gaps.iter().map(|(_, id)| id.clone()).collect();
        let sent = self
            .remote()?
            .backfill(server, room_id, from, MAX_EVENTS)
            .await?;
        let sent = &sent[..sent.len().min(MAX_EVENTS)];
        let mut events = self.read_events(room_id, head.version, sent).await?;
        let known: Vec<_> = events.keys().cloned().collect();
        for id in known {
            if self
                .event(view, &id)
                .await?
                .is_some_and(|event| !event.is_outlier())
            {
                events.remove(&id);
            }
        }
        if events.is_empty() {
            return Ok(false);
        }
        let mut pieces = Vec::with_capacity(events.len());
        let mut planned = HashSet::new();
        for pdu in in_graph_order(events) {
            let given = match self.is_connected(view, &pdu, &planned).await? {
                true => None,
                false => {
                    let id = pdu.event_id();
                    Some(self.fetch_state(server, head.version, room_id, id).await?)
                }
            };
            let vouched = self.fetch_auth_events(server, head.version, &pdu, &planned);
            match vouched.await {
                Ok(()) => {}
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::debug!(event = %pdu.event_id(), %error, "an event of before is left out");
                    continue;
                }
            }
            planned.insert(pdu.event_id().to_owned());
            pieces.push((pdu, given));
        }
        for _ in 0..MAX_TRIES {
            match commit(self.plan_history(room_id, &pieces, gaps).await?).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    async fn plan_history(
        &self,
        room_id: &RoomId,
        pieces: &[Piece],
        gaps: &[(u64, OwnedEventId)],
    ) -> Result<Plan, Error> {
        let mut plan = Plan::open(self, room_id.to_owned())
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))?;
        for (depth, id) in gaps {
            let key = (room_id.as_str(), *depth, id.as_str());
            plan.batch.delete(&GAPS, key);
        }
        for (pdu, given) in pieces {
            let state_before = match given {
                Some(list) => plan.given_state(list).await?,
                None => plan.state_before(pdu).await?,
            };
            plan.add_history(pdu.clone(), state_before).await?;
        }
        // A gap that is still one is noted again.
        for (_, id) in gaps {
            plan.note_gap_again(id).await?;
        }
        Ok(plan)
    }
}
