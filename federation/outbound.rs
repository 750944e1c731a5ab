//! Sending to other servers: from the log of what is to be sent to one durable queue for each of them, and from there in
//! transactions. A server that does not answer delays no other. Must never forget anything durable before it is answered.
//!
//! One node distributes, and each server belongs to one of [`SHARES`] shares, of which each has one node that sends: by
//! leases, which every batch asserts. Others tell the sender over hints what is new, and hand it what may be lost.
//!
//! | file | what |
//! |---|---|
//! | `tail.rs` | from the log to the queues |
//! | `queue.rs` | the queues |
//! | `deliver.rs` | from a queue to its server |
//! | `devices.rs` | changes of our users' devices |
//! | `trim.rs` | queues of servers that do not answer |
//! | `ephemeral.rs` | what may be lost |
//! | `shares.rs` | which node sends to which server |
//! | `slots.rs` | how many are sent to at once |
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use std::{collections::HashMap, sync::Arc, time::Duration};

use hearth_rooms::{Rooms, TOPIC_OUTGOING};
use hearth_store::{
    Hint, Store,
    leases::{Held, Leases},
};
use hearth_users::Users;
use parking_lot::Mutex;
use ruma::OwnedServerName;
use tokio::{sync::watch, time::MissedTickBehavior};

use self::{shares::Shares, slots::Slots};
use crate::reach::Peers;

mod deliver;
pub(crate) mod devices;
pub(crate) mod ephemeral;
mod queue;
mod shares;
mod slots;
mod tail;
mod trim;

pub(crate) use queue::queue;

/// How often what waits is looked at, whether or not a hint came.
const TICK: Duration = Duration::from_secs(5);

/// Sends to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Outbound(Arc<Shared>);

pub(crate) struct Shared {
    peers: Peers,
    store: Store,
    rooms: Rooms,
    users: Users,
    /// The servers for which a task works, and whether it is to look again.
    working: Mutex<HashMap<OwnedServerName, bool>>,
    slots: Slots,
    shares: Shares,
}

impl Outbound {
    /// Sends what `rooms` has for others, through `peers`, as far as `leases` say that it is this node's work.
    #[must_use]
    pub fn new(peers: Peers, store: Store, rooms: Rooms, users: Users, leases: &Leases) -> Self {
        Self(Arc::new(Shared {
            peers,
            store,
            rooms,
            users,
            working: Mutex::default(),
            slots: Slots::new(),
            shares: Shares::of(leases),
        }))
    }

    /// Sends until `stop` says so. What is not sent then is sent after the next start, or by another node.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut hints = self.0.store.hints().subscribe();
        let mut news = self.0.peers.news();
        let mut changes = self.0.shares.changes();
        // Not begun anew by each hint: what waits for a server that was left alone would wait for silence.
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.tail().await {
                tracing::warn!(%error, "what is to be sent is not distributed now");
            }
            if let Err(error) = self.tell_devices().await {
                tracing::warn!(%error, "changes of devices are not told now");
            }
            if let Err(error) = self.serve_waiting().await {
                tracing::warn!(%error, "what waits for other servers cannot be read");
            }
            loop {
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    server = news.recv() => match server {
                        Ok(server) => self.announce([server]).await,
                        Err(_) => break,
                    },
                    // The work under a lease that came is looked for; one that went leaves none.
                    Ok(()) = changes.changed() => break,
                    hint = hints.recv() => match hint {
                        Ok(hint) => {
                            self.take_in(&hint).await;
                            if is_for_others(&hint) && self.distribution().is_some() {
                                break;
                            }
                        }
                        // One that was lost counts as one for us.
                        Err(_) => break,
                    },
                    _ = tick.tick() => break,
                }
            }
        }
    }

    /// The lease on the step from the log to the queues, if this node has it.
    fn distribution(&self) -> Option<Held> {
        self.0.shares.distribution()
    }
}

/// Waits until it is time to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

fn is_for_others(hint: &Hint) -> bool {
    let mut topics = hint.topics.iter();
    topics.any(|topic| matches!(topic.parts(), Some((TOPIC_OUTGOING, _))))
}
