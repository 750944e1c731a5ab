//! Owns which node sends to which server: each server belongs to a share, each share to whoever holds its lease. Must never
//! let this node send for a share that it does not hold, nor pass on what was passed to it.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use hearth_store::{
    Hint, Hints, Lifetime, Position, Topic,
    leases::{Held, Kept, Leases, NodeId},
};
use ruma::{OwnedServerName, ServerName};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::Outbound;

/// Into how many shares servers are divided: more than nodes, so that each has about the same work.
const SHARES: u8 = 16;

/// The lease on the step from the log to the queues.
const DISTRIBUTION: &str = "outbound distribution";

/// The letter of the topics that say that there is something in the queue of a server.
const QUEUED: char = 'o';

/// The letter of the topics that say that something that may be lost was passed on for a server.
const PASSED: char = 'e';

/// How long something that may be lost waits to be taken over by the node that sends.
const PASSED_LIFETIME: Lifetime = Lifetime(30_000);

/// How many messages that may be lost are passed on at once.
const TOGETHER: usize = 100;

/// What this node sends for.
pub(super) struct Shares {
    leases: Leases,
    distribution: Kept,
    shares: Vec<Kept>,
    /// Numbers what this node passes on.
    passed: AtomicU64,
}

impl Shares {
    /// Those that `leases` give this node, from now on.
    pub(super) fn of(leases: &Leases) -> Self {
        let shares = (0..SHARES).map(|share| leases.keep(&format!("outbound {share:02}")));
        Self {
            distribution: leases.keep(DISTRIBUTION),
            shares: shares.collect(),
            leases: leases.clone(),
            passed: AtomicU64::new(0),
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.leases.changes()
    }

    pub(super) fn distribution(&self) -> Option<Held> {
        self.distribution.borrow().clone()
    }

    /// The lease under which this node sends to the server, if it has it.
    pub(super) fn lease(&self, server: &ServerName) -> Option<Held> {
        let share = Sha256::digest(server.as_str().as_bytes()).first()? % SHARES;
        self.shares.get(usize::from(share))?.borrow().clone()
    }

    fn node(&self) -> NodeId {
        self.leases.node()
    }
}

impl Outbound {
    /// Sends to the servers, or tells the nodes whose business that is.
    pub(super) async fn announce(&self, servers: impl IntoIterator<Item = OwnedServerName>) {
        let mut topics = Vec::new();
        for server in servers {
            if self.0.shares.lease(&server).is_some() {
                self.serve(&server);
                continue;
            }
            self.pass_on(&server).await;
            topics.push(Topic::new(QUEUED, server.as_str()));
        }
        if !topics.is_empty() {
            self.hints().publish(Hint {
                topics: topics.into(),
                position: Position::ZERO,
            });
        }
    }

    /// Hands what may be lost to the node that sends to the server.
    async fn pass_on(&self, server: &ServerName) {
        let passing = self.0.peers.ephemeral().take(server, TOGETHER);
        if passing.is_empty() {
            return;
        }
        for json in passing {
            let number = self.0.shares.passed.fetch_add(1, Ordering::Relaxed);
            let key = format!("{}{}/{number:016}", place(server), self.0.shares.node());
            let value = Bytes::from(json.get().to_owned());
            if let Err(error) = self.hints().put(&key, value, PASSED_LIFETIME).await {
                tracing::debug!(%server, %error, "something that may be lost is");
            }
        }
        self.hints().publish(Hint {
            topics: [Topic::new(PASSED, server.as_str())].into(),
            position: Position::ZERO,
        });
    }

    /// Does what other nodes ask for in a hint, as far as it is this node's business.
    pub(super) async fn take_in(&self, hint: &Hint) {
        for (kind, name) in hint.topics.iter().filter_map(Topic::parts) {
            if !matches!(kind, QUEUED | PASSED) {
                continue;
            }
            let Ok(server) = <&ServerName>::try_from(name) else {
                continue;
            };
            if self.0.shares.lease(server).is_none() {
                continue;
            }
            // It may have spoken to another node after a silence.
            self.0.peers.reconsider(server);
            if kind == PASSED {
                self.take_over(server).await;
            }
            self.serve(server);
        }
    }

    /// Takes what other nodes passed on for the server.
    async fn take_over(&self, server: &ServerName) {
        let mut found = self.hints().list(&place(server)).await.unwrap_or_default();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, _) in found {
            // Of two who take it one gets it.
            let Ok(Some(taken)) = self.hints().take(&key).await else {
                continue;
            };
            let json = String::from_utf8(taken.to_vec()).ok();
            if let Some(raw) = json.and_then(|json| RawValue::from_string(json).ok()) {
                self.0.peers.ephemeral().add(server.to_owned(), raw);
            }
        }
    }

    fn hints(&self) -> &Arc<dyn Hints> {
        self.0.store.hints()
    }
}

/// Where what is passed on for a server waits.
fn place(server: &ServerName) -> String {
    format!("edu/{server}/")
}
