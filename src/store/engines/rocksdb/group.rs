//! A group of batches that are written together. Each batch sees those before it, and is in the group whole or
//! not at all: its assertions are checked, its positions assigned and its additions carried out here.

use std::{collections::BTreeMap, mem};

use rocksdb::WriteBatch;

use super::opened::{Opened, error};
use crate::{
    Batch, CommitError, Committed, Error, Family, Position, TableId, Writer,
    batch::{Assertion, Write},
};

/// New values by family and stored key; `None`: removed.
type Changes = BTreeMap<Place, Option<Vec<u8>>>;

/// The number of the family, then the stored key: one allocation, compared as bytes.
type Place = Vec<u8>;

/// Batches that are to be written together.
pub(super) struct Group<'a> {
    opened: &'a Opened,
    /// Where the log was before.
    start: Position,
    head: Position,
    changes: Changes,
}

impl<'a> Group<'a> {
    /// An empty group after everything that is stored.
    pub(super) fn begin(opened: &'a Opened) -> Result<Self, Error> {
        let head = opened.head()?;
        Ok(Self {
            opened,
            start: head,
            head,
            changes: Changes::new(),
        })
    }

    /// Adds `batch`, as if it were committed after everything before it.
    ///
    /// # Errors
    /// The group is then as it was.
    pub(super) fn add(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        for assertion in &batch.assertions {
            self.check(assertion)?;
        }
        let committed = Committed {
            first: match batch.slots {
                0 => self.head,
                _ => self.head.next(),
            },
            count: batch.slots,
        };
        let mut ours = Changes::new();
        for write in batch.writes {
            let (place, value) = match write {
                Write::Put { table, key, value } => (
                    place(table, &filled(key, committed)?),
                    Some(filled(value, committed)?),
                ),
                Write::Delete { table, key } => (place(table, &key), None),
                Write::Add { table, key, delta } => {
                    let place = place(table, &key);
                    let sum = self.sum(&ours, &place, delta)?;
                    (place, Some(sum.to_be_bytes().to_vec()))
                }
            };
            ours.insert(place, value);
        }
        self.head.0 += u64::from(batch.slots);
        // The larger tree takes in the smaller one.
        if self.changes.is_empty() {
            self.changes = ours;
        } else {
            self.changes.extend(ours);
        }
        Ok(committed)
    }

    fn check(&self, assertion: &Assertion) -> Result<(), CommitError> {
        let place = place(assertion.table, &assertion.key);
        let found = self.value(&place)?;
        if found.as_deref() == assertion.expected.as_deref() {
            return Ok(());
        }
        Err(CommitError::Conflict)
    }

    /// The value that the batches so far leave at `place`.
    fn value(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        if let Some(value) = self.changes.get(place) {
            return Ok(value.clone());
        }
        let (family, key) = parts(place)?;
        let family = self.opened.family(family)?;
        self.opened.db().get_cf(family, key).map_err(error)
    }

    fn sum(&self, ours: &Changes, place: &Place, delta: i64) -> Result<i64, Error> {
        let old = match ours.get(place) {
            Some(value) => value.clone(),
            None => self.value(place)?,
        };
        let old = old.map_or(Ok(0), |bytes| crate::codec::decode::<i64>(&bytes))?;
        // Wraps rather than stops at the end: only so do additions commute.
        Ok(old.wrapping_add(delta))
    }

    /// Writes all batches of the group, durably.
    pub(super) fn write(mut self) -> Result<(), Error> {
        if self.head != self.start {
            let (family, key) = Opened::head_key();
            let mut place = vec![number(family)];
            place.extend_from_slice(&key);
            let head = self.head.0.to_be_bytes().to_vec();
            self.changes.insert(place, Some(head));
        }
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        for (place, value) in mem::take(&mut self.changes) {
            let (family, key) = parts(&place)?;
            let family = self.opened.family(family)?;
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
            }
        }
        self.opened.write(batch)
    }
}

/// Puts the assigned positions where `writer` left gaps for them.
fn filled(writer: Writer, committed: Committed) -> Result<Vec<u8>, CommitError> {
    let Writer { mut bytes, patches } = writer;
    for patch in patches {
        let foreign =
            || Error::Corrupt("a batch holds a pending position of another one".to_owned());
        if patch.slot.0 >= committed.count {
            return Err(foreign().into());
        }
        let start = usize::try_from(patch.offset).unwrap_or(usize::MAX);
        let gap = start
            .checked_add(8)
            .and_then(|end| bytes.get_mut(start..end))
            .ok_or_else(foreign)?;
        let position = committed.first.0 + u64::from(patch.slot.0);
        gap.copy_from_slice(&position.to_be_bytes());
    }
    Ok(bytes)
}

fn number(family: Family) -> u8 {
    match family {
        Family::Immutable => 0,
        Family::Records => 1,
        Family::Index => 2,
        Family::Log => 3,
    }
}

fn place(table: TableId, key: &[u8]) -> Place {
    let mut bytes = Vec::with_capacity(key.len() + 2);
    bytes.push(number(table.family));
    bytes.push(table.number);
    bytes.extend_from_slice(key);
    bytes
}

fn parts(place: &[u8]) -> Result<(Family, &[u8]), Error> {
    place
        .split_first()
        .and_then(|(family, key)| {
            let family = Family::ALL.into_iter().find(|f| number(*f) == *family)?;
            Some((family, key))
        })
        .ok_or_else(|| Error::Corrupt("a change without a family".to_owned()))
}
