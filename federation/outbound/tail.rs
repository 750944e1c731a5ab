//! Owns the step from the log of what is to be sent to the queues of servers. The log is emptied with the same commit, so
//! nothing is distributed twice, on whatever node, and the lease on it keeps nodes out of each other's way. Must never hold more than a page of it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use hearth_base::Millis;
use hearth_rooms::{Outgoing, Rooms};
use hearth_store::{Batch, CommitError, View};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId};

use super::{Outbound, queue};

/// How many events are distributed with one commit.
const TOGETHER: usize = 64;

/// A server that is left alone for longer than this gets the newest event of each room when it is back, and not all.
const LONG: Duration = Duration::from_secs(5 * 60);

/// How many servers a room has at most, as far as they are sent to.
const MAX_SERVERS: usize = 10_000;

impl Outbound {
    /// Distributes everything that is in the log.
    pub(super) async fn tail(&self) -> Result<(), hearth_rooms::Error> {
        loop {
            let Some(lease) = self.distribution() else {
                return Ok(());
            };
            let view = self.0.store.view().await?;
            let page = self.0.rooms.outgoing(&view, TOGETHER).await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            lease.assert(&mut batch);
            let mut touched = BTreeSet::new();
            let mut servers = HashMap::new();
            for item in &page {
                let targets = self.targets(&view, &mut servers, item).await?;
                for server in targets {
                    let is_left_alone = self.is_left_alone(&server).await;
                    let event = (item.room_id.as_str(), item.event_id.as_str());
                    queue::plan_event(&mut batch, &server, event, is_left_alone);
                    touched.insert(server);
                }
            }
            Rooms::plan_distributed(&mut batch, &page);
            match self.0.store.commit(batch).await {
                Ok(_) => self.announce(touched).await,
                // The lease is another node's, or rooms moved.
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
    }

    /// To whom an event goes: the servers in the room, and that of whose membership it changes.
    async fn targets(
        &self,
        view: &View,
        known: &mut HashMap<OwnedRoomId, Vec<OwnedServerName>>,
        item: &Outgoing,
    ) -> Result<BTreeSet<OwnedServerName>, hearth_rooms::Error> {
        let Some(event) = self.0.rooms.event(view, &item.event_id).await? else {
            return Ok(BTreeSet::new());
        };
        let room_id: &RoomId = &item.room_id;
        if !known.contains_key(room_id) {
            let found = self.0.rooms.servers(view, room_id, MAX_SERVERS).await?;
            known.insert(room_id.to_owned(), found);
        }
        let mut targets: BTreeSet<_> = known.get(room_id).into_iter().flatten().cloned().collect();
        if event.pdu.event_type() == "m.room.member"
            && let Some(user) = event
                .pdu
                .state_key()
                .and_then(|user| UserId::parse(user).ok())
        {
            targets.insert(user.server_name().to_owned());
        }
        targets.remove(self.0.rooms.server_name());
        targets.remove(event.pdu.sender().server_name());
        targets.retain(|server| !self.0.peers.settings().deny.denies(server));
        Ok(targets)
    }

    async fn is_left_alone(&self, server: &ruma::ServerName) -> bool {
        self.0.peers.left_alone_until(server).await > self.now().after(LONG)
    }

    pub(super) fn now(&self) -> Millis {
        self.0.peers.now()
    }
}
