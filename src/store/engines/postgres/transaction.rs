//! One group as one transaction: two round trips, under the lock on the head.
//!
//! 1. `BEGIN`, lock the head, read what assertions and additions ask for.
//! 2. Everything that changes as arrays, sorted by key, then `COMMIT`.
//!
//! Must never leave it open whether a group was written: see [`Sent`].

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

use super::{
    super::group::{Changes, Group, Place, Plan, Stored},
    connection::{Failure, Line, Purpose, Target},
    keys, number,
    statements::Writing,
    view::Head,
};
use crate::{Batch, CommitError, Committed, Error, Hint, TableId, batch::Write};

/// How long a round trip of a group may take, waiting for other nodes' groups included.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the removal of a range may take: it is one transaction, of any size.
const RANGE_PATIENCE: Duration = Duration::from_secs(600);

/// Names a group, for whoever looks whether it was written.
pub(super) type GroupId = [u8; 16];

/// A group whose commit was sent and not answered.
///
/// When the connection is lost then, the group is written or it is not; a new session finds out. It takes the lock on
/// the head, which the lost session held when the commit was sent: so that one has ended. Should it, in another
/// database, have held nothing, it still cannot end as written any more: its version is taken by the next group that is,
/// and no two groups have the same.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) id: GroupId,
    pub(super) version: i64,
    pub(super) outcomes: Outcomes,
}

/// What became of each batch of a group.
pub(super) type Outcomes = Vec<Result<Committed, CommitError>>;

/// A session that writes.
pub(super) struct Session {
    pub(super) line: Line,
    pub(super) writing: Writing,
}

/// What is stored at the keys that a group asks for.
struct Fetched(BTreeMap<Place, Vec<u8>>);

impl Stored for &Fetched {
    fn value(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(place).cloned())
    }
}

impl Session {
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        let line = target.connect(Purpose::Writing).await?;
        let writing = Writing::prepare(&line.client).await?;
        Ok(Self { line, writing })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line.client.is_closed()
    }

    /// Begins a transaction and locks the head.
    pub(super) async fn lock(&self) -> Result<Head, Failure> {
        let client = &self.line.client;
        let locked = async {
            Ok(tokio::try_join!(
                biased;
                client.batch_execute("BEGIN"),
                client.query_one(&self.writing.lock, &[])
            )?)
        };
        let ((), row) = within(PATIENCE, locked).await?;
        Head::read(&row)
    }

    /// As [`Session::lock`], with the stored values at `places` as of then.
    async fn lock_and_fetch(&self, places: BTreeSet<Place>) -> Result<(Head, Fetched), Failure> {
        if places.is_empty() {
            return Ok((self.lock().await?, Fetched(BTreeMap::new())));
        }
        let places: Vec<Place> = places.into_iter().collect();
        let numbers: Vec<i32> = (0..).take(places.len()).collect();
        let tables: Vec<i16> = places.iter().map(|(table, _)| number(*table)).collect();
        let keys: Vec<_> = places.iter().map(|(_, key)| keys::stored(key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&numbers, &tables, &keys];
        // Each statement sees what is committed when it begins: the one that fetches, all that the lock waited for.
        let fetched = async {
            tokio::try_join!(
                biased;
                self.lock(),
                async { Ok(self.line.client.query(&self.writing.fetch, &parameters).await?) }
            )
        };
        let (head, rows) = within(PATIENCE, fetched).await?;
        let mut found = BTreeMap::new();
        for row in rows {
            let n: i32 = row.try_get(0)?;
            let place = usize::try_from(n).ok().and_then(|n| places.get(n));
            if let Some(place) = place {
                let value = keys::value(&place.1, row.try_get(1)?);
                found.insert(place.clone(), value.map_err(Failure::lasting)?.into());
            }
        }
        Ok((head, Fetched(found)))
    }

    /// Whether `sent` was written. Needs the lock.
    async fn was_written(&self, sent: &Sent) -> Result<bool, Failure> {
        let (client, writing) = (&self.line.client, &self.writing);
        let whose = async { Ok(client.query_opt(&writing.whose, &[&sent.version]).await?) };
        let Some(row) = within(PATIENCE, whose).await? else {
            return Ok(false);
        };
        let (version, id): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        if version == sent.version {
            return Ok(id == sent.id);
        }
        Err(Failure::lasting(Error::Unavailable(
            "whether a group was written can no longer be told".to_owned(),
        )))
    }

    async fn roll_back(&self) -> Result<(), Failure> {
        let rolled = async { Ok(self.line.client.batch_execute("ROLLBACK").await?) };
        within(PATIENCE, rolled).await
    }

    /// Writes `batches` as one group called `id`; first finds out about `sent`, which they may have been written as.
    pub(super) async fn write(
        &self,
        batches: &[Batch],
        id: GroupId,
        sent: &mut Option<Sent>,
    ) -> Result<(Outcomes, Option<i64>), Failure> {
        let (head, fetched) = self.lock_and_fetch(asked(batches)).await?;
        if let Some(before) = sent.as_ref() {
            let written = self.was_written(before).await;
            if written? {
                let (outcomes, version) = (before.outcomes.clone(), before.version);
                self.roll_back().await?;
                return Ok((outcomes, Some(version)));
            }
            *sent = None;
        }
        let mut group = Group::begin(&fetched, head.position);
        let mut hints = Vec::new();
        let mut outcomes = Outcomes::with_capacity(batches.len());
        for batch in batches {
            let outcome = group.add(batch.clone());
            if let Ok(committed) = &outcome {
                note(&mut hints, batch, committed);
            }
            outcomes.push(outcome);
        }
        let plan = group.plan();
        if plan.changes.is_empty() && !plan.moved {
            self.roll_back().await?;
            return Ok((outcomes, None));
        }
        let version = head.version + 1;
        *sent = Some(Sent {
            id,
            version,
            outcomes: outcomes.clone(),
        });
        within(PATIENCE, self.send(&plan, version, &id, &hints)).await?;
        *sent = None;
        Ok((outcomes, Some(version)))
    }

    /// Sends all that changes and the commit at once, and waits for the answers.
    async fn send(
        &self,
        plan: &Plan,
        version: i64,
        id: &GroupId,
        hints: &[u8],
    ) -> Result<(), Failure> {
        let (client, writing) = (&self.line.client, &self.writing);
        let stored = stored(&plan.changes);
        let rows = Rows::of(&stored);
        let head = i64::try_from(plan.head.0).unwrap_or(i64::MAX);
        let id = id.as_slice();
        let advance: [&(dyn ToSql + Sync); 2] = [&version, &head];
        let name: [&(dyn ToSql + Sync); 3] = [&version, &id, &hints];
        let retire: [&(dyn ToSql + Sync); 3] = [&version, &rows.tables, &rows.keys];
        let put: [&(dyn ToSql + Sync); 4] =
            [&version, &rows.put_tables, &rows.put_keys, &rows.put_values];
        let delete: [&(dyn ToSql + Sync); 2] = [&rows.gone_tables, &rows.gone_keys];
        let mut steps = vec![
            client.execute_boxed(&writing.group, &name),
            client.execute_boxed(&writing.advance, &advance),
        ];
        if !rows.keys.is_empty() {
            steps.push(client.execute_boxed(&writing.retire, &retire));
        }
        if !rows.gone_keys.is_empty() {
            steps.push(client.execute_boxed(&writing.delete, &delete));
        }
        if !rows.put_keys.is_empty() {
            steps.push(client.execute_boxed(&writing.put, &put));
        }
        self.run_and_commit(steps).await
    }

    /// Runs `steps` in order, in one go with the commit. All must succeed: after a failed one the database answers the
    /// commit with success and undoes everything.
    async fn run_and_commit(&self, steps: Vec<Step<'_>>) -> Result<(), Failure> {
        // In their order: a statement is sent when its future is first asked.
        let (steps, committed) = tokio::join!(
            biased;
            join_all(steps),
            self.line.client.batch_execute("COMMIT")
        );
        for step in steps {
            step?;
        }
        Ok(committed?)
    }

    /// Removes a range, as a group of its own.
    pub(super) async fn delete_range(
        &self,
        table: TableId,
        range: &Range<Vec<u8>>,
        id: GroupId,
        sent: &mut Option<Sent>,
    ) -> Result<i64, Failure> {
        if !keys::is_exact(range) {
            let text = "a range whose ends are as long as that is not removed at once";
            return Err(Failure::lasting(Error::Unavailable(text.to_owned())));
        }
        let head = self.lock().await?;
        if let Some(before) = sent.take()
            && self.was_written(&before).await?
        {
            self.roll_back().await?;
            return Ok(before.version);
        }
        let (version, table) = (head.version + 1, number(table));
        *sent = Some(Sent {
            id,
            version,
            outcomes: Outcomes::new(),
        });
        let position = i64::try_from(head.position.0).unwrap_or(i64::MAX);
        let (id, hints): (_, &[u8]) = (id.as_slice(), &[]);
        let name: [&(dyn ToSql + Sync); 3] = [&version, &id, &hints];
        let advance: [&(dyn ToSql + Sync); 2] = [&version, &position];
        let retire: [&(dyn ToSql + Sync); 4] = [&version, &table, &range.start, &range.end];
        let delete: [&(dyn ToSql + Sync); 3] = [&table, &range.start, &range.end];
        let (client, writing) = (&self.line.client, &self.writing);
        let steps = vec![
            client.execute_boxed(&writing.group, &name),
            client.execute_boxed(&writing.advance, &advance),
            client.execute_boxed(&writing.retire_range, &retire),
            client.execute_boxed(&writing.delete_range, &delete),
        ];
        within(RANGE_PATIENCE, self.run_and_commit(steps)).await?;
        *sent = None;
        Ok(version)
    }
}

/// A statement on its way.
type Step<'a> = futures_util::future::BoxFuture<'a, Result<u64, tokio_postgres::Error>>;

/// Statements as steps.
trait Boxed {
    fn execute_boxed<'a>(
        &'a self,
        statement: &'a tokio_postgres::Statement,
        parameters: &'a [&'a (dyn ToSql + Sync)],
    ) -> Step<'a>;
}

impl Boxed for tokio_postgres::Client {
    fn execute_boxed<'a>(
        &'a self,
        statement: &'a tokio_postgres::Statement,
        parameters: &'a [&'a (dyn ToSql + Sync)],
    ) -> Step<'a> {
        Box::pin(self.execute(statement, parameters))
    }
}

/// Changes as columns.
#[derive(Default)]
struct Rows<'a> {
    tables: Vec<i16>,
    keys: Vec<&'a [u8]>,
    put_tables: Vec<i16>,
    put_keys: Vec<&'a [u8]>,
    put_values: Vec<&'a [u8]>,
    gone_tables: Vec<i16>,
    gone_keys: Vec<&'a [u8]>,
}

/// Changes as they are stored, in the order of the stored keys: every group takes its locks in the same one.
type StoredChange<'a> = (i16, Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

fn stored(changes: &Changes) -> Vec<StoredChange<'_>> {
    let changes = changes.iter().map(|((table, key), value)| {
        let value = value.as_ref().map(|value| keys::wrapped(key, value));
        (number(*table), keys::stored(key), value)
    });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    changes
}

impl<'a> Rows<'a> {
    fn of(changes: &'a [StoredChange<'_>]) -> Self {
        let mut rows = Self::default();
        for (table, key, value) in changes {
            rows.tables.push(*table);
            rows.keys.push(key);
            match value {
                Some(value) => {
                    rows.put_tables.push(*table);
                    rows.put_keys.push(key);
                    rows.put_values.push(value);
                }
                None => {
                    rows.gone_tables.push(*table);
                    rows.gone_keys.push(key);
                }
            }
        }
        rows
    }
}

/// Adds the hint of a batch to those of its group, with its length before it.
fn note(hints: &mut Vec<u8>, batch: &Batch, committed: &Committed) {
    if batch.topics.is_empty() {
        return;
    }
    let hint = Hint {
        topics: batch.topics.as_slice().into(),
        position: committed.last(),
    };
    let bytes = hint.to_bytes();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hints.extend_from_slice(&length.to_be_bytes());
    hints.extend_from_slice(&bytes);
}

/// The hints of a group; those that another version wrote in another form are left out.
pub(super) fn noted(mut bytes: &[u8]) -> Vec<Hint> {
    let mut hints = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((hint, rest)) = rest.split_at_checked(length) else {
            break;
        };
        hints.extend(Hint::from_bytes(hint));
        bytes = rest;
    }
    hints
}

/// The keys whose stored values `batches` depend on.
fn asked(batches: &[Batch]) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    for batch in batches {
        for assertion in &batch.assertions {
            places.insert((assertion.table, assertion.key.clone()));
        }
        for write in &batch.writes {
            if let Write::Add { table, key, .. } = write {
                places.insert((*table, key.clone()));
            }
        }
    }
    places
}

/// Fails when there is no answer in time.
pub(super) async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(time, work)
        .await
        .unwrap_or_else(|_| Err(Failure::late()))
}
