//! Owns how many events of each server were taken over on this node and wait to be worked off. Must never let one server fill
//! the disk with what nobody gets to.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use ruma::ServerName;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::Rooms;

/// How many events of one server wait before no more of its are taken over.
const MAX_WAITING: usize = 2_000;

/// How long a transaction waits for that to change.
const PATIENCE: Duration = Duration::from_secs(30);

/// After how long without news of them events are believed to have been worked off by another node: longer than the longest
/// pause between two attempts.
const BELIEVED: Duration = Duration::from_secs(2 * 60);

/// What is taken over and waits.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: Mutex<HashMap<String, Waiting>>,
    eased: Notify,
}

/// What of one server waits.
struct Waiting {
    count: usize,
    /// When it last changed.
    since: Instant,
}

impl Backlog {
    pub(super) fn add(&self, server: &str, count: usize) {
        if count > 0 {
            let since = Instant::now();
            let mut waiting = self.waiting.lock();
            let fresh = Waiting { count: 0, since };
            let known = waiting.entry(server.to_owned()).or_insert(fresh);
            known.count += count;
            known.since = since;
        }
    }

    /// An event is worked off. What another node took over, or this one before it was started anew, was not counted.
    pub(super) fn remove(&self, server: &str) {
        let mut waiting = self.waiting.lock();
        if let Some(known) = waiting.get_mut(server) {
            known.count -= 1;
            known.since = Instant::now();
            if known.count == 0 {
                waiting.remove(server);
            }
            drop(waiting);
            self.eased.notify_waiters();
        }
    }

    fn is_full(&self, server: &str) -> bool {
        let mut waiting = self.waiting.lock();
        if (waiting.get(server)).is_some_and(|known| known.since.elapsed() > BELIEVED) {
            waiting.remove(server);
        }
        (waiting.get(server)).is_some_and(|known| known.count >= MAX_WAITING)
    }

    /// Waits until the server may hand over more; whether it may.
    async fn eases(&self, server: &str) -> bool {
        let eased = async {
            loop {
                let next = self.eased.notified();
                if !self.is_full(server) {
                    return;
                }
                next.await;
            }
        };
        timeout(PATIENCE, eased).await.is_ok()
    }
}

impl Rooms {
    /// Waits, half a minute at most, while too many events of the server were taken over and not yet worked off; whether it
    /// may hand over more.
    pub async fn may_hand_over(&self, server: &ServerName) -> bool {
        self.0.backlog.eases(server.as_str()).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_handed_over_too_much_waits_until_it_is_worked_off() {
        let backlog = Arc::new(Backlog::default());
        backlog.add("a.org", MAX_WAITING);
        assert!(!backlog.eases("a.org").await);
        assert!(backlog.eases("b.org").await);
        let waits = tokio::spawn({
            let backlog = backlog.clone();
            async move { backlog.eases("a.org").await }
        });
        tokio::task::yield_now().await;
        backlog.remove("a.org");
        assert!(waits.await.unwrap());
        for _ in 0..MAX_WAITING {
            backlog.remove("a.org");
        }
        assert!(backlog.waiting.lock().is_empty());

        // Another node works them off, of which nothing is heard here.
        backlog.add("a.org", MAX_WAITING);
        assert!(!backlog.eases("a.org").await);
        tokio::time::advance(BELIEVED).await;
        assert!(backlog.eases("a.org").await);
    }
}
