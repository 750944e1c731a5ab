//! Owns keeping the queue of a server that does not answer short: where many events wait, the newest of each room is enough,
//! from which it finds the rest, and of its messages the newest are kept. Must never touch the queue of a server that answers.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use std::collections::HashMap;

use hearth_store::{Batch, CommitError};
use ruma::{EventId, ServerName};

use super::{
    Outbound,
    queue::{self, Item},
};

/// How many messages wait for a server at most; older ones are lost.
const MAX_MESSAGES: usize = 10_000;

/// How many events wait for a server at most before the newest of each room stands for all: servers ask for few of those
/// between.
const MAX_EVENTS: usize = 1_000;

/// How much of a queue is looked at once; what is beyond is looked at after the next failure.
const LOOKED_AT: usize = 20_000;

/// How many records are removed with one commit.
const TOGETHER: usize = 1_000;

impl Outbound {
    /// Shortens the queue of a server that did not answer.
    pub(super) async fn trim(&self, server: &ServerName) -> Result<(), hearth_rooms::Error> {
        let view = self.0.store.view().await?;
        let waiting = queue::waiting(&view, server, LOOKED_AT).await?;
        let messages = waiting
            .iter()
            .filter(|(_, item)| matches!(item, Item::Message(_)));
        let mut lost = messages.count().saturating_sub(MAX_MESSAGES);
        if lost > 0 {
            tracing::warn!(%server, lost, "the oldest messages to a server that does not answer are lost");
            metrics::counter!("hearth_federation_messages_lost_total").increment(lost as u64);
        }
        let is_event = |(_, item): &&(_, Item)| matches!(item, Item::Event(_));
        if lost == 0 && waiting.iter().filter(is_event).count() <= MAX_EVENTS {
            return Ok(());
        }
        let mut newest = HashMap::new();
        let mut gone = Vec::new();
        for (position, item) in waiting {
            match item {
                Item::Event(id) => {
                    let parsed = EventId::parse(&id).ok();
                    if let Some(parsed) = parsed
                        && let Some(event) = self.0.rooms.event(&view, &parsed).await?
                    {
                        newest.insert(event.pdu.room_id().to_string(), id);
                    }
                    gone.push(position);
                }
                Item::Message(_) if lost > 0 => {
                    lost -= 1;
                    gone.push(position);
                }
                Item::Message(_) => {}
            }
        }
        // The events first: what leads to them is there before they are gone.
        let mut batch = Batch::new();
        for (room, event) in &newest {
            queue::plan_behind(&view, &mut batch, server, (room, event)).await?;
        }
        if !self.commit_trim(server, batch).await? {
            return Ok(());
        }
        for some in gone.chunks(TOGETHER) {
            let mut batch = Batch::new();
            for position in some {
                queue::plan_gone(&mut batch, server, *position);
            }
            if !self.commit_trim(server, batch).await? {
                break;
            }
        }
        Ok(())
    }

    /// Commits a step; whether it is done. It is not when another node serves the server now, or a newer event came: the
    /// next failure trims again.
    async fn commit_trim(
        &self,
        server: &ServerName,
        mut batch: Batch,
    ) -> Result<bool, hearth_rooms::Error> {
        let Some(lease) = self.0.shares.lease(server) else {
            return Ok(false);
        };
        if batch.writes.is_empty() {
            return Ok(true);
        }
        lease.assert(&mut batch);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }
}
