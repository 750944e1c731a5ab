//! The engine under the suite, and what is its own: the past and its end, several processes over one store, a
//! database that goes away, also in the middle of a commit.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, sync::Arc};

use hearth_base::SystemRng;

use self::cluster::Cluster;
use super::{Options, PostgresEngine, open, restore};
use crate::{
    Engine,
    suite::{self, Subject, commits, durable, kill, log, order, records},
};

mod cluster;
mod faults;
mod nodes;
mod past;

/// How many times the writing process is killed, unless the environment says otherwise: each time takes a start.
const KILLS: u64 = 40;

/// An engine over a database of its own.
struct Postgres {
    engine: Arc<PostgresEngine>,
    url: String,
}

impl Postgres {
    async fn at(url: String) -> Self {
        let engine = open_at(&url).await;
        Self { engine, url }
    }
}

async fn open_at(url: &str) -> Arc<PostgresEngine> {
    open(Options::at(url), Arc::new(SystemRng)).await.unwrap()
}

fn cluster() -> &'static Cluster {
    cluster::shared().unwrap()
}

impl Subject for Postgres {
    async fn new() -> Self {
        Self::at(cluster().database().await).await
    }

    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    async fn reopened(self) -> Self {
        self.engine.close().await.unwrap();
        Self::at(self.url).await
    }

    async fn restored(from: &Path) -> Self {
        let url = cluster().database().await;
        restore(from, &Options::at(&url), Arc::new(SystemRng))
            .await
            .unwrap();
        Self::at(url).await
    }

    async fn refuses_restore(&self, from: &Path) -> bool {
        restore(from, &Options::at(&self.url), Arc::new(SystemRng))
            .await
            .is_err()
    }

    fn syncs(&self) -> Option<u64> {
        // Each transaction of a group is made durable by itself.
        Some(self.engine.counts().groups)
    }
}

/// Runs a test of the suite, where there is a PostgreSQL.
async fn run(test: impl AsyncFnOnce(Postgres) -> Postgres) {
    if cluster::shared().is_some() {
        suite::run::<Postgres>(test).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn round_trips() {
    run(records::round_trips).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    run(records::many_at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_half_open() {
    run(records::ranges_are_half_open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_stay_still() {
    run(records::views_stay_still).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_removed() {
    run(records::ranges_are_removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_keys() {
    run(records::long_keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_are_in_order() {
    run(order::scans_are_in_order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing() {
    run(commits::all_or_nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_positions() {
    run(commits::pending_positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_batches() {
    run(commits::merged_batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_commute() {
    run(commits::additions_commute).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_under_contention() {
    run(commits::conflicts_under_contention).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner() {
    run(commits::one_winner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_never_skipped() {
    run(log::positions_are_never_skipped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_commits_share_syncs() {
    run(log::waiting_commits_share_syncs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_keeps_all() {
    run(durable::reopening_keeps_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_is_unavailable() {
    run(durable::closed_is_unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_while_writing() {
    run(durable::backup_while_writing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_is_equal() {
    run(durable::restore_is_equal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_writers_lose_nothing() {
    if let Some(url) = kill::place() {
        kill::child(open_at(&url).await).await;
        return;
    }
    if cluster::shared().is_none() {
        return;
    }
    let url = cluster().database().await;
    let test = "engines::postgres::tests::killed_writers_lose_nothing";
    kill::many_times(test, &url, KILLS, async || {
        open_at(&url).await as Arc<dyn Engine>
    })
    .await;
}
