//! Owns what is remembered of servers that did not answer: since when, and when they are tried again. It survives a
//! restart. Must never keep anybody who waits from trying.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use std::{sync::Arc, time::Duration};

use hearth_base::{Clock, Millis};
use hearth_store::{Batch, Family, Part, ReadPart, Reader, Store, Table, Writer};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};

use super::call::CallError;

/// Server to how it failed.
const FAILURES: Table<String, Failures> = Table::new(202, "destination_failures", Family::Records);

/// How long a server is left alone after it failed once.
const FIRST: Duration = Duration::from_secs(5);

/// How long a server is left alone at most.
const MOST: Duration = Duration::from_secs(60 * 60);

/// How many servers are kept in memory.
const CACHED: usize = 10_000;

/// After this long in memory it is read again: another node may have found out more.
const FRESH: Duration = Duration::from_secs(30);

/// Whether somebody waits for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A user or another server waits.
    WaitedFor,
    /// It can be made later as well.
    Background,
}

/// How a server failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Failures {
    /// How often in a row.
    count: u32,
    /// Until when it is left alone.
    until: Millis,
}

impl Part for Failures {
    fn write(&self, w: &mut Writer) {
        (self.count, self.until.0).write(w);
    }
}

impl ReadPart for Failures {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (count, until) = ReadPart::read(r)?;
        Ok(Self {
            count,
            until: Millis(until),
        })
    }
}

/// What is remembered of other servers.
pub(crate) struct Destinations {
    store: Store,
    clock: Arc<dyn Clock>,
    /// And when that was read or written.
    known: Cache<OwnedServerName, (Failures, Millis)>,
}

impl Destinations {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            known: Cache::new(CACHED),
        }
    }

    /// Whether the server may be tried now.
    ///
    /// # Errors
    /// `NotTried` while it is left alone.
    pub(crate) async fn admit(
        &self,
        server: &ServerName,
        urgency: Urgency,
    ) -> Result<(), CallError> {
        if urgency == Urgency::WaitedFor || self.until(server).await <= self.clock.now() {
            return Ok(());
        }
        Err(CallError::NotTried(format!(
            "{server} did not answer lately and is left alone for a while"
        )))
    }

    /// Until when the server is left alone; a moment of the past if it is not.
    pub(crate) async fn until(&self, server: &ServerName) -> Millis {
        self.failures(server).await.until
    }

    /// Forgets that the server failed: it just spoke to us. Whether it had failed.
    pub(crate) async fn heard(&self, server: &ServerName) -> bool {
        let failed = self.failures(server).await != Failures::default();
        self.note(server, true).await;
        failed
    }

    /// Remembers whether the server answered.
    pub(crate) async fn note(&self, server: &ServerName, is_there: bool) {
        let before = self.failures(server).await;
        let now = self.clock.now();
        let after = match is_there {
            true => Failures::default(),
            // Calls that ran at the same time are one failure.
            false if before.until > now => return,
            false => Failures {
                count: before.count.saturating_add(1),
                until: now.after(FIRST.saturating_mul(1 << before.count.min(12)).min(MOST)),
            },
        };
        if after == before {
            return;
        }
        self.known.insert(server.to_owned(), (after, now));
        let mut batch = Batch::new();
        match is_there {
            true => batch.delete(&FAILURES, server.as_str()),
            false => batch.put(&FAILURES, server.as_str(), after),
        }
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%server, %error, "whether a server answers is not remembered");
        }
    }

    /// Forgets what is known in memory of how the server failed.
    pub(crate) fn reconsider(&self, server: &ServerName) {
        self.known.remove(server);
    }

    async fn failures(&self, server: &ServerName) -> Failures {
        let now = self.clock.now();
        if let Some((known, read_at)) = self.known.get(server)
            && now.since(read_at) < FRESH
        {
            return known;
        }
        let read = async {
            let view = self.store.view().await?;
            view.get(&FAILURES, server.as_str()).await
        };
        let found = read.await.unwrap_or_else(|error| {
            tracing::warn!(%server, %error, "what is known of a server cannot be read");
            None
        });
        let found = found.unwrap_or_default();
        self.known.insert(server.to_owned(), (found, now));
        found
    }
}
