//! Owns what is sent to servers and may be lost: who types, receipts, who is online. Must never grow without bound.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#edus>

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use serde_json::value::RawValue;

/// How many messages wait for one server; past that the oldest are lost.
const MAX_WAITING: usize = 100;

/// For how many servers some wait; past that they are lost.
const MAX_SERVERS: usize = 10_000;

/// What waits for servers.
#[derive(Default)]
pub(crate) struct Ephemeral(Mutex<HashMap<OwnedServerName, VecDeque<Box<RawValue>>>>);

impl Ephemeral {
    /// Has `message` wait for the server.
    pub(crate) fn add(&self, server: OwnedServerName, message: Box<RawValue>) {
        let mut waiting = self.0.lock();
        if waiting.len() >= MAX_SERVERS && !waiting.contains_key(&server) {
            return;
        }
        let queue = waiting.entry(server).or_default();
        if queue.len() >= MAX_WAITING {
            queue.pop_front();
        }
        queue.push_back(message);
    }

    /// Takes at most `limit` of what waits for the server, the oldest first.
    pub(crate) fn take(&self, server: &ServerName, limit: usize) -> Vec<Box<RawValue>> {
        let mut waiting = self.0.lock();
        let Some(queue) = waiting.get_mut(server) else {
            return Vec::new();
        };
        let count = queue.len().min(limit);
        let taken = queue.drain(..count).collect();
        if queue.is_empty() {
            waiting.remove(server);
        }
        taken
    }

    /// The servers for which something waits.
    pub(crate) fn servers(&self) -> Vec<OwnedServerName> {
        self.0.lock().keys().cloned().collect()
    }
}
