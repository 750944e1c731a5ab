//! The connections that read: a fixed number, each shared by several readers at a time, none ever held between two
//! statements. Whoever comes when all are busy waits, and when too many wait is refused at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout_at},
};
use tokio_postgres::Row;

use super::{
    closed,
    connection::{Failure, Line, Purpose, Target},
    statements::Reading,
};
use crate::{Direction, Error};

/// How many statements are under way on a connection at most.
const DEPTH: usize = 16;

/// How many reads wait at most.
const QUEUE: usize = 8192;

/// How long a read goes on trying while the database cannot be reached.
const PATIENCE: Duration = Duration::from_secs(8);

/// The pause before a read is tried again, doubled each time.
const PAUSE: Duration = Duration::from_millis(25);

/// What is read.
pub(super) enum Ask {
    Head,
    Get {
        table: i16,
        key: Vec<u8>,
        version: i64,
    },
    Many {
        table: i16,
        keys: Vec<Vec<u8>>,
        version: i64,
    },
    Scan {
        table: i16,
        low: Vec<u8>,
        high: Vec<u8>,
        direction: Direction,
        limit: i64,
        version: i64,
    },
    /// The lowest table from here on that holds, or lately held, anything.
    Table {
        from: i16,
    },
    /// Whom the groups after a version concerned.
    Hints {
        after: i64,
        limit: i64,
    },
}

struct Session {
    line: Line,
    reading: Reading,
}

impl Session {
    async fn ask(&self, ask: &Ask) -> Result<Vec<Row>, tokio_postgres::Error> {
        let (client, reading) = (&self.line.client, &self.reading);
        match ask {
            Ask::Head => client.query(&reading.head, &[]).await,
            Ask::Get {
                table,
                key,
                version,
            } => client.query(&reading.get, &[table, key, version]).await,
            Ask::Many {
                table,
                keys,
                version,
            } => {
                let numbers: Vec<i32> = (0..).take(keys.len()).collect();
                client
                    .query(&reading.many, &[table, &numbers, keys, version])
                    .await
            }
            Ask::Scan {
                table,
                low,
                high,
                direction,
                limit,
                version,
            } => {
                let statement = match direction {
                    Direction::Forward => &reading.forward,
                    Direction::Backward => &reading.backward,
                };
                client
                    .query(statement, &[table, low, high, version, limit])
                    .await
            }
            Ask::Table { from } => {
                let mut now = client.query(&reading.table, &[from]).await?;
                now.extend(client.query(&reading.table_past, &[from]).await?);
                Ok(now)
            }
            Ask::Hints { after, limit } => client.query(&reading.hints, &[after, limit]).await,
        }
    }
}

/// A connection that is made when it is first needed.
#[derive(Default)]
struct Slot {
    session: Mutex<Option<Arc<Session>>>,
    busy: AtomicUsize,
}

impl Slot {
    async fn session(&self, target: &Target) -> Result<Arc<Session>, Failure> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref().filter(|s| !s.line.client.is_closed()) {
            return Ok(session.clone());
        }
        *held = None;
        let line = target.connect(Purpose::Reading).await?;
        let reading = Reading::prepare(&line.client).await?;
        let session = Arc::new(Session { line, reading });
        *held = Some(session.clone());
        Ok(session)
    }

    async fn ask(&self, target: &Target, ask: &Ask) -> Result<Vec<Row>, Failure> {
        let session = self.session(target).await?;
        session.ask(ask).await.map_err(Failure::from)
    }

    /// Drops the connection, on which somebody waited in vain. Others who wait there try again elsewhere.
    fn reset(&self) {
        if let Ok(mut held) = self.session.try_lock() {
            *held = None;
        }
    }
}

/// Counts a statement as under way for as long as it lives.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn on(slot: &'a Slot) -> Self {
        slot.busy.fetch_add(1, Ordering::Relaxed);
        Self(&slot.busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections.
pub(super) struct Readers {
    target: Arc<Target>,
    slots: Vec<Slot>,
    admitted: Semaphore,
    waiting: AtomicUsize,
}

impl Readers {
    /// At most `connections` of them, one at least. Makes none yet.
    pub(super) fn new(target: Arc<Target>, connections: usize) -> Self {
        let slots: Vec<Slot> = (0..connections.clamp(1, 1000))
            .map(|_| Slot::default())
            .collect();
        Self {
            target,
            admitted: Semaphore::new(slots.len() * DEPTH),
            slots,
            waiting: AtomicUsize::new(0),
        }
    }

    /// The rows of an answer.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Vec<Row>, Error> {
        let until = Instant::now() + PATIENCE;
        let _admitted = self.admit(until).await?;
        let mut pause = PAUSE;
        loop {
            let slot = self.least_busy();
            let busy = Busy::on(slot);
            let failure = match timeout_at(until, slot.ask(&self.target, ask)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    slot.reset();
                    Failure::late()
                }
            };
            drop(busy);
            if !failure.passing || Instant::now() + pause >= until {
                return Err(failure.error);
            }
            // Reading again is harmless: the answer depends on the version that is asked for.
            metrics::counter!("hearth_store_reads_repeated_total").increment(1);
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Refuses everything from now on.
    pub(super) fn close(&self) {
        self.admitted.close();
        for slot in &self.slots {
            slot.reset();
        }
    }

    async fn admit(&self, until: Instant) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.admitted.try_acquire() {
            return Ok(permit);
        }
        let counted = Busy(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            metrics::counter!("hearth_store_reads_refused_total").increment(1);
            return Err(Error::Unavailable("too many reads are waiting".to_owned()));
        }
        let permit = timeout_at(until, self.admitted.acquire()).await;
        drop(counted);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Failure::late().error),
        }
    }

    /// The first of those with the least to do, so that only as many are opened as are needed.
    fn least_busy(&self) -> &Slot {
        let mut best = &self.slots[0];
        for slot in &self.slots {
            if slot.busy.load(Ordering::Relaxed) < best.busy.load(Ordering::Relaxed) {
                best = slot;
            }
        }
        best
    }
}
