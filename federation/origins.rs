//! Owns how much of this server one other server has at once. Must never let one that asks for very much hold up others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::Error;

/// How many requests of one server are answered at once.
const AT_ONCE: usize = 32;

/// How many more may wait, and for how long each does.
const WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// The servers whose requests are being answered. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Origins(Arc<Mutex<HashMap<OwnedServerName, Origin>>>);

/// What one server has.
struct Origin {
    /// Requests that are answered or wait.
    requests: usize,
    slots: Arc<Semaphore>,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            requests: 0,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// A request that is answered or waits, until it is dropped.
pub(crate) struct Turn {
    origins: Origins,
    origin: OwnedServerName,
    slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.slot = None;
        let mut origins = self.origins.0.lock();
        if let Some(origin) = origins.get_mut(&self.origin) {
            origin.requests -= 1;
            if origin.requests == 0 {
                origins.remove(&self.origin);
            }
        }
    }
}

impl Origins {
    /// Waits until a request of the server may be answered, which it may be as long as what comes is held.
    ///
    /// # Errors
    /// 429 (`M_LIMIT_EXCEEDED`) when too many of its requests wait, or this one did for too long.
    pub(crate) async fn admit(&self, server: &ServerName) -> Result<Turn, Error> {
        let slots = {
            let mut origins = self.0.lock();
            let origin = origins.entry(server.to_owned()).or_default();
            if origin.requests >= AT_ONCE + WAITING {
                return Err(Error::limit_exceeded());
            }
            origin.requests += 1;
            origin.slots.clone()
        };
        let mut turn = Turn {
            origins: self.clone(),
            origin: server.to_owned(),
            slot: None,
        };
        let slot = timeout(PATIENCE, slots.acquire_owned()).await;
        turn.slot = slot.ok().and_then(Result::ok);
        match turn.slot {
            Some(_) => Ok(turn),
            None => Err(Error::limit_exceeded()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::StatusCode;
    use ruma::server_name;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_too_much_is_refused_and_others_are_not() {
        let origins = Origins::default();
        let (greedy, modest) = (server_name!("greedy.org"), server_name!("modest.org"));
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(origins.admit(greedy).await.unwrap());
        }
        let waiting = (0..WAITING).map(|_| {
            let origins = origins.clone();
            tokio::spawn(async move { origins.admit(greedy).await.map(drop) })
        });
        let waiting: Vec<_> = waiting.collect();
        while origins.0.lock()[greedy].requests < AT_ONCE + WAITING {
            tokio::task::yield_now().await;
        }
        let refused = origins.admit(greedy).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(origins.admit(modest).await.unwrap());

        // Those that wait come when others are done; without that they wait in vain.
        drop(turns.pop());
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        turns.push(origins.admit(greedy).await.unwrap());
        assert!(origins.admit(greedy).await.is_err());

        turns.clear();
        assert!(origins.0.lock().is_empty());
    }
}
