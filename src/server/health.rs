//! Whether this server can be sent requests: `/health`, and what balancers and orchestrators ask, `/health/ready` and
//! `/health/live`.
//!
//! Owns the answers and the watch over the store behind them. Must never say that a server is not ready because of a moment
//! without its database: its peers have the same database, and a cluster whose nodes all step aside answers nobody.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use hearth_store::Store;
use http::StatusCode;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How often the store is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// For how long the store may be gone before others should be asked instead.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether this server is to be sent requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inside>);

struct Inside {
    store: Store,
    leaving: AtomicBool,
    /// When the store last answered.
    seen: Mutex<Instant>,
}

/// What a balancer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Send requests.
    Ready,
    /// Send nothing new: the server is about to stop. What is under way will be answered.
    Leaving,
    /// The store has been gone for long.
    Cut,
}

impl Health {
    /// That of a server whose store answers now.
    pub(crate) fn new(store: Store) -> Self {
        Self(Arc::new(Inside {
            store,
            leaving: AtomicBool::new(false),
            seen: Mutex::new(Instant::now()),
        }))
    }

    /// From now on balancers are asked to send nothing new.
    pub(crate) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Looks at the store until `stopping` says so. A store that does not answer is waited for.
    pub(crate) async fn watch(self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                looked = self.0.store.view() => {
                    if looked.is_ok() {
                        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    }
                }
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// The paths that say it.
    pub(crate) fn router(&self) -> Router {
        let (health, ready) = (self.clone(), self.clone());
        Router::new()
            .route("/health", get(move || async move { health.now().await }))
            .route("/health/ready", get(move || async move { ready.ready() }))
            .route("/health/live", get(|| async { "OK\n" }))
    }

    /// Whether the store can be read at this moment.
    async fn now(&self) -> Response {
        match self.0.store.view().await {
            Ok(_) => (StatusCode::OK, "OK\n").into_response(),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        }
    }

    fn readiness(&self) -> Readiness {
        let seen = *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.leaving.load(Ordering::Relaxed) {
            Readiness::Leaving
        } else if seen.elapsed() > PATIENCE {
            Readiness::Cut
        } else {
            Readiness::Ready
        }
    }

    /// 404 is what HAProxy takes for "nothing new, but let it finish" (`http-check disable-on-404`).
    fn ready(&self) -> Response {
        match self.readiness() {
            Readiness::Ready => (StatusCode::OK, "OK\n"),
            Readiness::Leaving => (StatusCode::NOT_FOUND, "stopping\n"),
            Readiness::Cut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database is out of reach\n",
            ),
        }
        .into_response()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hearth_store::{MemoryHints, engines::rocksdb};
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_ready_until_it_leaves_or_its_store_is_gone_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(rocksdb::Options::at(folder.path())).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        let health = Health::new(store.clone());
        assert_eq!(health.readiness(), Readiness::Ready);
        // Nobody watches, as when the store never answers.
        advance(PATIENCE).await;
        assert_eq!(health.readiness(), Readiness::Ready);
        advance(LOOK).await;
        assert_eq!(health.readiness(), Readiness::Cut);
        let (stop, stopping) = watch::channel(false);
        let watching = tokio::spawn(health.clone().watch(stopping));
        while health.readiness() != Readiness::Ready {
            tokio::task::yield_now().await;
        }
        health.leave();
        assert_eq!(health.readiness(), Readiness::Leaving);
        stop.send_replace(true);
        watching.await.unwrap();
    }
}
