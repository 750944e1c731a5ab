//! Copying a whole store into an empty one, of whatever engine: from a folder to a database that nodes share, and back.
//!
//! Both stores must be out of use. What was copied is noted in the new store together with the records, so that an
//! interrupted copy goes on where it was; until every table was read again and compared, the new store says that it is
//! unfinished, and must not be served from.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    Batch, CommitError, Direction, Engine, Error, Family, Json, Position, Store, Table, TableId,
    View, Writer, batch::Write,
};

/// How far a copy is, in the new store; gone when it is finished.
const UNFINISHED: Table<(), Json<Done>> = Table::new(1, "migration", Family::Records);

/// How many records are read at once.
const PAGE: usize = 500;

/// How many bytes are written at once, about.
const BATCH_BYTES: usize = 4 << 20;

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the old store, to know what there is.
    Counting,
    /// Writing the new one.
    Copying,
    /// Reading the new one, to compare.
    Comparing,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Records so far, in this stage.
    pub records: u64,
    /// Records in all; zero while they are counted.
    pub total: u64,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Records, all of which were compared.
    pub records: u64,
    /// Where the log is, in both stores.
    pub position: Position,
    /// SHA-256 of all tables, in hexadecimal; the same for both stores.
    pub sum: String,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Done {
    /// Of what: the sum of the old store.
    of: String,
    /// Whole tables, in the order of [`tables`].
    tables: usize,
    /// The last key of the next table that was copied, in hexadecimal.
    key: Option<String>,
    records: u64,
}

/// How many records a table has, and the SHA-256 of them in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sum {
    records: u64,
    hash: [u8; 32],
}

/// Whether the store of `view` is a copy that was not finished.
///
/// # Errors
/// Those of the store.
pub async fn is_unfinished(view: &View) -> Result<bool, Error> {
    Ok(view.get_bytes(&UNFINISHED, ()).await?.is_some())
}

/// Copies everything of `from` into `to`, which must be empty or an unfinished copy. `tell` hears how far it is.
///
/// # Errors
/// `Unavailable` if `to` holds another store or `from` changed meanwhile, and those of the stores; `Corrupt` if a copied table is
/// not as the old one.
pub async fn copy(
    from: &Store,
    to: &Store,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Copied, Error> {
    let position = from.view().await?.position();
    let sums = sums(&**from.engine(), Stage::Counting, 0, tell).await?;
    let total = sums.iter().map(|sum| sum.records).sum();
    let sum = whole(&sums, position);
    let copied = Copied {
        records: total,
        position,
        sum: sum.clone(),
    };
    let Some(mut done) = begin(to, &sum, position).await? else {
        return Ok(copied);
    };
    while let Some(table) = tables().nth(done.tables) {
        copy_table(from, to, table, &mut done, &mut |records| {
            tell(Progress {
                stage: Stage::Copying,
                records,
                total,
            });
        })
        .await?;
    }
    let found = self::sums(&**to.engine(), Stage::Comparing, total, tell).await?;
    for (table, (old, new)) in tables().zip(sums.iter().zip(&found)) {
        if old != new {
            return Err(Error::Corrupt(format!(
                "table {} of {} differs: {} records were to be copied, {} are there",
                table.number,
                table.family.name(),
                old.records,
                new.records
            )));
        }
    }
    if from.view().await?.position() != position {
        return Err(Error::Unavailable(
            "the old store was written to meanwhile: stop every server that uses it, and begin again".to_owned(),
        ));
    }
    finish(to, &done, position).await?;
    Ok(copied)
}

/// Where to go on; `None` if all is done.
async fn begin(to: &Store, of: &str, position: Position) -> Result<Option<Done>, Error> {
    let view = to.view().await?;
    let start = Done {
        of: of.to_owned(),
        tables: 0,
        key: None,
        records: 0,
    };
    match view.get(&UNFINISHED, ()).await? {
        Some(Json(done)) if done.of == of => return Ok(Some(done)),
        // Of another state of the old store: what there is of it goes first.
        Some(_) => {
            for table in tables() {
                to.engine().delete_range(table, everything()).await?;
            }
        }
        None if view.position() == Position::ZERO && is_empty(&view).await? => {}
        None => {
            let found = sums(&**to.engine(), Stage::Comparing, 0, &mut |_| ()).await?;
            if whole(&found, view.position()) == of && view.position() == position {
                return Ok(None);
            }
            return Err(Error::Unavailable(
                "the new store is not empty, and nothing is overwritten".to_owned(),
            ));
        }
    }
    let mut mark = Batch::new();
    mark.put(&UNFINISHED, (), Json(start.clone()));
    commit(to, mark).await?;
    Ok(Some(start))
}

async fn is_empty(view: &View) -> Result<bool, Error> {
    for table in tables() {
        let first = view
            .0
            .scan(table, everything(), Direction::Forward, 1)
            .await?;
        if !first.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn copy_table(
    from: &Store,
    to: &Store,
    table: TableId,
    done: &mut Done,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), Error> {
    loop {
        let low = match &done.key {
            Some(key) => after(&unhex(key)?),
            None => Vec::new(),
        };
        let view = from.view().await?;
        let range = low..everything().end;
        let page = view.0.scan(table, range, Direction::Forward, PAGE).await?;
        let ended = page.len() < PAGE;
        let mut rest = page.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Batch::new(), 0);
            while let Some((key, value)) = rest.next_if(|_| bytes < BATCH_BYTES) {
                bytes += key.len() + value.len();
                done.key = Some(hex(&key));
                done.records += 1;
                batch.writes.push(put(table, &key, &value));
            }
            batch.put(&UNFINISHED, (), Json(done.clone()));
            commit(to, batch).await?;
            tell(done.records);
        }
        if ended {
            done.tables += 1;
            done.key = None;
            return Ok(());
        }
    }
}

/// Moves the log to where the old one is, and takes the mark away.
async fn finish(to: &Store, done: &Done, position: Position) -> Result<(), Error> {
    let mut left = position.0 - to.view().await?.position().0.min(position.0);
    loop {
        let mut batch = Batch::new();
        batch.slots = u32::try_from(left).unwrap_or(u32::MAX);
        left -= u64::from(batch.slots);
        if left == 0 {
            batch.delete(&UNFINISHED, ());
        }
        commit(to, batch).await?;
        if left == 0 {
            break;
        }
    }
    tracing::info!(records = done.records, "the copy is finished");
    Ok(())
}

async fn sums(
    engine: &dyn Engine,
    stage: Stage,
    total: u64,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Sum>, Error> {
    let (mut found, mut records) = (Vec::new(), 0);
    for table in tables() {
        let (mut hasher, mut low, before) = (Sha256::new(), Vec::new(), records);
        loop {
            let view = engine.view().await?;
            let range = low..everything().end;
            let page = view.scan(table, range, Direction::Forward, PAGE).await?;
            for (key, value) in &page {
                for part in [key, value] {
                    let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
                    hasher.update(length.to_be_bytes());
                    hasher.update(part);
                }
                records += 1;
            }
            tell(Progress {
                stage,
                records,
                total,
            });
            match page.last() {
                Some((last, _)) if page.len() == PAGE => low = after(last),
                _ => break,
            }
        }
        found.push(Sum {
            records: records - before,
            hash: hasher.finalize().into(),
        });
    }
    Ok(found)
}

fn whole(sums: &[Sum], position: Position) -> String {
    let mut hasher = Sha256::new();
    hasher.update(position.0.to_be_bytes());
    for sum in sums {
        hasher.update(sum.records.to_be_bytes());
        hasher.update(sum.hash);
    }
    hex(&hasher.finalize())
}

/// Every table there may be, but those of the store itself, which each engine keeps in its own way.
fn tables() -> impl Iterator<Item = TableId> {
    let families = Family::ALL.into_iter();
    families.flat_map(|family| (16..=255).map(move |number| TableId { family, number }))
}

fn everything() -> std::ops::Range<Vec<u8>> {
    // Keys never start with eight 0xFF bytes.
    Vec::new()..vec![0xFF; 8]
}

fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn put(table: TableId, key: &Bytes, value: &Bytes) -> Write {
    let raw = |bytes: &Bytes| {
        let mut writer = Writer::default();
        writer.raw(bytes);
        writer
    };
    Write::Put {
        table,
        key: raw(key),
        value: raw(value),
    }
}

async fn commit(to: &Store, batch: Batch) -> Result<(), Error> {
    match to.commit(batch).await {
        Ok(_) => Ok(()),
        Err(CommitError::Failed(error)) => Err(error),
        Err(conflict @ CommitError::Conflict) => Err(Error::Unavailable(conflict.to_string())),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn unhex(text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Corrupt("the mark of an unfinished copy is damaged".to_owned());
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| {
            let pair = text.get(at..at + 2).ok_or_else(wrong)?;
            u8::from_str_radix(pair, 16).map_err(|_| wrong())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        MemoryHints,
        engines::rocksdb::{self, Options},
        suite::{INDEX, LOG, RECORDS, batch},
    };

    fn store(folder: &TempDir) -> Store {
        let engine = rocksdb::open(Options::at(folder.path())).unwrap();
        Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
    }

    async fn fill(store: &Store, count: u64) {
        for n in 0..count {
            let write = batch(|b| {
                b.append(&LOG, format!("entry {n}").as_str());
                b.put(&INDEX, ("n", n), "x");
                b.put(&RECORDS, "last", Bytes::from(n.to_string()));
            });
            store.commit(write).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_copy_is_equal_and_done_once() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (store(&old), store(&new));
        fill(&from, 1200).await;
        let mut seen = Vec::new();
        let copied = copy(&from, &to, &mut |progress| seen.push(progress))
            .await
            .unwrap();
        assert_eq!((copied.records, copied.position), (2401, Position(1200)));
        let last = seen.last().unwrap();
        assert_eq!(
            (last.stage, last.records, last.total),
            (Stage::Comparing, 2401, 2401)
        );
        assert_eq!(to.view().await.unwrap().position(), Position(1200));
        assert!(!is_unfinished(&to.view().await.unwrap()).await.unwrap());
        // Once more is nothing; the way back is the same.
        assert_eq!(copy(&from, &to, &mut |_| ()).await.unwrap(), copied);
        let back = tempfile::tempdir().unwrap();
        assert_eq!(copy(&to, &store(&back), &mut |_| ()).await.unwrap(), copied);
        // Over another store nothing is copied.
        fill(&to, 1).await;
        let refused = copy(&from, &to, &mut |_| ()).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))));
    }

    #[tokio::test]
    async fn an_interrupted_copy_goes_on() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (store(&old), store(&new));
        fill(&from, 1200).await;
        let interrupted = tokio::spawn({
            let (from, to) = (from.clone(), to.clone());
            async move {
                let mut stop = |progress: Progress| {
                    assert!(
                        progress.stage != Stage::Copying || progress.records < 1500,
                        "interrupted"
                    );
                };
                copy(&from, &to, &mut stop).await
            }
        });
        assert!(interrupted.await.is_err());
        assert!(is_unfinished(&to.view().await.unwrap()).await.unwrap());
        let mut first = None;
        let mut note = |progress: Progress| {
            if progress.stage == Stage::Copying && first.is_none() {
                first = Some(progress.records);
            }
        };
        let copied = copy(&from, &to, &mut note).await.unwrap();
        assert_eq!(copied.records, 2401);
        assert!(first.unwrap() > 1500);
        // After a change of the old store an unfinished copy begins again.
        let other = tempfile::tempdir().unwrap();
        let to = store(&other);
        let mut mark = Batch::new();
        mark.put(
            &UNFINISHED,
            (),
            Json(Done {
                of: "another".to_owned(),
                tables: 900,
                key: None,
                records: 5,
            }),
        );
        mark.put(&RECORDS, "stale", Bytes::new());
        to.commit(mark).await.unwrap();
        assert_eq!(copy(&from, &to, &mut |_| ()).await.unwrap().records, 2401);
        let stale = to
            .view()
            .await
            .unwrap()
            .get(&RECORDS, "stale")
            .await
            .unwrap();
        assert_eq!(stale, None);
    }
}
