//! A view is a number: the version at which it was taken. It holds no connection and no transaction.
//!
//! Groups are written one after another, each under the lock on the head, so whoever reads version v in the head finds
//! every group up to v committed, in whatever later statement, on whatever connection. What is written after v is left
//! out by its version, and what it replaced is found in the past. How far the past reaches back is checked in the same
//! statement: a view that is too old fails, and never shows anything else than it showed before.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_postgres::Row;

use super::{
    Seen, closed,
    connection::Failure,
    keys, number,
    readers::{Ask, Readers},
    transaction::noted,
};
use crate::{
    Direction, EngineView, Error, Pairs, Position, Read, TableId,
    hints::replay::{Concerned, Mark},
};

/// How many groups are told of at once.
const HINTS: i64 = 1000;

/// What is under the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// How many groups were written.
    pub(super) version: i64,
    /// Where the log ends.
    pub(super) position: Position,
}

impl Head {
    pub(super) fn read(row: &Row) -> Result<Self, Failure> {
        let head: i64 = row.try_get(1)?;
        Ok(Self {
            version: row.try_get(0)?,
            position: Position(u64::try_from(head).map_err(|_| Failure::lasting(misshapen()))?),
        })
    }
}

/// Asks for the head. Views that are asked for while a question is under way share the next one: it is sent after they
/// asked, so it finds everything that was committed before.
pub(super) struct Heads {
    readers: Arc<Readers>,
    seen: Arc<Seen>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    list: Vec<oneshot::Sender<Result<Head, Error>>>,
    running: bool,
}

impl Heads {
    pub(super) fn new(readers: Arc<Readers>, seen: Arc<Seen>) -> Self {
        Self {
            readers,
            seen,
            waiting: Mutex::default(),
        }
    }

    /// The head at a moment after this call.
    pub(super) fn ask(self: &Arc<Self>) -> oneshot::Receiver<Result<Head, Error>> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.list.push(reply);
        if !waiting.running {
            waiting.running = true;
            tokio::spawn(self.clone().run());
        }
        answer
    }

    async fn run(self: Arc<Self>) {
        while let Some(list) = self.next() {
            let head = self.head().await;
            for reply in list {
                // Who asked may have gone away.
                drop(reply.send(head.clone()));
            }
        }
    }

    fn next(&self) -> Option<Vec<oneshot::Sender<Result<Head, Error>>>> {
        let mut waiting = self.waiting.lock();
        let list = std::mem::take(&mut waiting.list);
        waiting.running = !list.is_empty();
        waiting.running.then_some(list)
    }

    async fn head(&self) -> Result<Head, Error> {
        let rows = self.readers.ask(&Ask::Head).await?;
        let row = rows.first().ok_or_else(misshapen)?;
        let head = Head::read(row).map_err(|failure| failure.error)?;
        self.seen.note(head.version);
        Ok(head)
    }
}

/// How many keys a view remembers.
const REMEMBERED: usize = 64;

/// What single keys hold. A view never shows anything else, and a request often asks for the same ones again.
type Known = Arc<Mutex<HashMap<(i16, Vec<u8>), Option<Bytes>>>>;

/// A snapshot.
pub(super) struct PostgresView {
    readers: Arc<Readers>,
    head: Head,
    known: Known,
}

impl PostgresView {
    /// A view of `head`.
    pub(super) fn of(readers: Arc<Readers>, head: Head) -> Self {
        let known = Known::default();
        Self {
            readers,
            head,
            known,
        }
    }

    /// A view of now.
    pub(super) fn open(readers: Arc<Readers>, heads: &Arc<Heads>) -> Read<Arc<dyn EngineView>> {
        let head = heads.ask();
        later(async move {
            let head = head.await.unwrap_or_else(|_| Err(closed()))?;
            Ok(Arc::new(Self::of(readers, head)) as Arc<dyn EngineView>)
        })
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Vec<Row>, Error>> {
        let (readers, version) = (self.readers.clone(), self.head.version);
        async move {
            let rows = readers.ask(&ask).await?;
            let kept: i64 = rows
                .first()
                .ok_or_else(misshapen)?
                .try_get(0)
                .map_err(wrong)?;
            if kept > version {
                metrics::counter!("hearth_store_views_outlived_total").increment(1);
                return Err(Error::Unavailable(
                    "a view of the store was kept for too long".to_owned(),
                ));
            }
            Ok(rows)
        }
        .boxed()
    }

    /// The pairs of `range` as they are stored.
    pub(super) fn pairs(
        &self,
        table: i16,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'static, Result<Pairs, Error>> {
        let rows = self.ask(Ask::Scan {
            table,
            low: range.start,
            high: range.end,
            direction,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            version: self.head.version,
        });
        async move {
            let mut pairs = Pairs::new();
            for row in rows.await? {
                // A row without a key says that nothing was found.
                if let Some(key) = row.try_get::<_, Option<&[u8]>>(1).map_err(wrong)? {
                    let value: &[u8] = row.try_get(2).map_err(wrong)?;
                    pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                }
            }
            match direction {
                Direction::Forward => pairs.sort_by(|a, b| a.0.cmp(&b.0)),
                Direction::Backward => pairs.sort_by(|a, b| b.0.cmp(&a.0)),
            }
            Ok(pairs)
        }
        .boxed()
    }
}

impl EngineView for PostgresView {
    fn position(&self) -> Position {
        self.head.position
    }

    fn get(&self, table: TableId, key: &[u8]) -> Read<Option<Bytes>> {
        let place = (number(table), key.to_vec());
        if let Some(found) = self.known.lock().get(&place) {
            return Read::ready(found.clone());
        }
        let rows = self.ask(Ask::Get {
            table: number(table),
            key: keys::stored(key).into_owned(),
            version: self.head.version,
        });
        let known = self.known.clone();
        later(async move {
            let rows = rows.await?;
            let row = rows.first().ok_or_else(misshapen)?;
            let found: Option<&[u8]> = row.try_get(1).map_err(wrong)?;
            let found = found
                .map(|found| keys::value(&place.1, found))
                .transpose()?;
            let mut known = known.lock();
            if known.len() < REMEMBERED {
                known.insert(place, found.clone());
            }
            Ok(found)
        })
    }

    fn get_many(&self, table: TableId, keys: Vec<Vec<u8>>) -> Read<Vec<Option<Bytes>>> {
        if keys.is_empty() {
            return Read::ready(Vec::new());
        }
        let mut found = vec![None; keys.len()];
        let rows = self.ask(Ask::Many {
            table: number(table),
            keys: keys
                .iter()
                .map(|key| keys::stored(key).into_owned())
                .collect(),
            version: self.head.version,
        });
        later(async move {
            for row in rows.await? {
                if let Some(n) = row.try_get::<_, Option<i32>>(1).map_err(wrong)? {
                    let value: &[u8] = row.try_get(2).map_err(wrong)?;
                    let n = usize::try_from(n).map_err(|_| misshapen())?;
                    let key = keys.get(n).ok_or_else(misshapen)?;
                    let place = found.get_mut(n).ok_or_else(misshapen)?;
                    *place = Some(keys::value(key, value)?);
                }
            }
            Ok(found)
        })
    }

    fn scan(
        &self,
        table: TableId,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> Read<Pairs> {
        if limit == 0 || range.start >= range.end {
            return Read::ready(Pairs::new());
        }
        let scan = Scan {
            view: Self::of(self.readers.clone(), self.head),
            table: number(table),
            range,
            direction,
        };
        later(scan.run(limit))
    }
}

/// A scan over keys of which some may be long.
struct Scan {
    view: PostgresView,
    table: i16,
    range: Range<Vec<u8>>,
    direction: Direction,
}

impl Scan {
    async fn run(self, limit: usize) -> Result<Pairs, Error> {
        let (mut rest, mut found) = (keys::around(&self.range), Pairs::new());
        loop {
            let wanted = limit - found.len();
            let mut page = self.page(rest.clone(), wanted).await?;
            let ended = page.len() < wanted;
            if let Some((last, _)) = page
                .last()
                .filter(|(last, _)| !ended && keys::is_long(last))
            {
                let alike = keys::alike(last);
                let more = match self.direction {
                    Direction::Forward => [last, &[0][..]].concat()..alike.end,
                    Direction::Backward => alike.start..last.to_vec(),
                };
                page.extend(self.page(more, usize::MAX).await?);
            }
            if let Some((last, _)) = page.last() {
                match self.direction {
                    Direction::Forward => rest.start = [last, &[0][..]].concat(),
                    Direction::Backward => rest.end = last.to_vec(),
                }
            }
            for (stored_key, stored_value) in page {
                let (key, value) = keys::unwrapped(&stored_key, &stored_value)?;
                if self.range.start.as_slice() <= key && key < self.range.end.as_slice() {
                    found.push(match keys::is_long(&stored_key) {
                        true => (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                        false => (stored_key, stored_value),
                    });
                }
            }
            if ended || found.len() >= limit {
                break;
            }
        }
        // The database has no duty to keep the order of an inner query; it does, so this costs one look.
        match self.direction {
            Direction::Forward => found.sort_by(|a, b| a.0.cmp(&b.0)),
            Direction::Backward => found.sort_by(|a, b| b.0.cmp(&a.0)),
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn page(&self, range: Range<Vec<u8>>, limit: usize) -> Result<Pairs, Error> {
        self.view
            .pairs(self.table, range, self.direction, limit)
            .await
    }
}

/// Whom the groups after `mark` concerned.
pub(super) async fn concerned(readers: &Readers, mark: Mark) -> Result<Concerned, Error> {
    let ask = Ask::Hints {
        after: i64::try_from(mark.0).unwrap_or(i64::MAX),
        limit: HINTS,
    };
    let rows = readers.ask(&ask).await?;
    let mut found = Concerned {
        mark,
        more: i64::try_from(rows.len()).is_ok_and(|count| count >= HINTS),
        hints: Vec::new(),
    };
    for row in rows {
        let version: i64 = row.try_get(0).map_err(wrong)?;
        found.mark = Mark(u64::try_from(version).map_err(|_| misshapen())?);
        found.hints.extend(noted(row.try_get(1).map_err(wrong)?));
    }
    Ok(found)
}

fn later<T>(future: impl Future<Output = Result<T, Error>> + Send + 'static) -> Read<T> {
    Read::Later(future.boxed())
}

fn misshapen() -> Error {
    Error::Corrupt("the tables of the store are not as they should be".to_owned())
}

fn wrong(error: tokio_postgres::Error) -> Error {
    Failure::from(error).error
}
