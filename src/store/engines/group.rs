//! A group of batches that are written together, for any engine. Each batch sees those before it, and is in the group
//! whole or not at all: its assertions are checked, its positions assigned and its additions carried out here.
//!
//! Owns what a commit means. Must never write anything by itself: it ends as a [`Plan`].

use std::collections::BTreeMap;

use crate::{
    Batch, CommitError, Committed, Error, Position, TableId, Writer,
    batch::{Assertion, Write},
};

/// How many batches are written together at most.
pub(super) const GROUP: usize = 256;

/// A group of more bytes than this takes no further batch.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// A batch of more bytes than this is refused.
const BATCH_BYTES: usize = 64 << 20;

/// Where a record is. Sorted by table, then key.
pub(super) type Place = (TableId, Vec<u8>);

/// New values; `None`: removed.
pub(super) type Changes = BTreeMap<Place, Option<Vec<u8>>>;

/// What was stored before a group, as far as the group asks for it: keys of assertions and additions.
pub(super) trait Stored {
    /// The value at `place`.
    fn value(&self, place: &Place) -> Result<Option<Vec<u8>>, Error>;
}

/// What is to be written for a group.
pub(super) struct Plan {
    /// The head of the log afterwards.
    pub(super) head: Position,
    /// Whether the head differs from that before.
    pub(super) moved: bool,
    /// Everything that changes, in the order of the keys.
    pub(super) changes: Changes,
}

/// Batches that are to be written together.
pub(super) struct Group<S> {
    stored: S,
    /// Where the log was before.
    start: Position,
    head: Position,
    changes: Changes,
}

impl<S: Stored> Group<S> {
    /// An empty group after everything that is `stored`, where the log ends at `head`.
    pub(super) fn begin(stored: S, head: Position) -> Self {
        Self {
            stored,
            start: head,
            head,
            changes: Changes::new(),
        }
    }

    /// Adds `batch`, as if it were committed after everything before it.
    ///
    /// # Errors
    /// The group is then as it was.
    pub(super) fn add(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        if weight(&batch) > BATCH_BYTES {
            return Err(Error::Unavailable("a batch is too large".to_owned()).into());
        }
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
                    (table, filled(key, committed)?),
                    Some(filled(value, committed)?),
                ),
                Write::Delete { table, key } => ((table, key), None),
                Write::Add { table, key, delta } => {
                    let place = (table, key);
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
        let place = (assertion.table, assertion.key.clone());
        let found = self.value(&place)?;
        if found.as_deref() == assertion.expected.as_deref() {
            return Ok(());
        }
        Err(CommitError::Conflict)
    }

    /// The value that the batches so far leave at `place`.
    fn value(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        match self.changes.get(place) {
            Some(value) => Ok(value.clone()),
            None => self.stored.value(place),
        }
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

    /// What is to be written for all batches that were added.
    pub(super) fn plan(self) -> Plan {
        Plan {
            head: self.head,
            moved: self.head != self.start,
            changes: self.changes,
        }
    }
}

/// How many bytes a batch takes, roughly.
pub(super) fn weight(batch: &Batch) -> usize {
    let of = |write: &Write| match write {
        Write::Put { key, value, .. } => key.bytes.len() + value.bytes.len(),
        Write::Delete { key, .. } | Write::Add { key, .. } => key.len(),
    };
    batch.writes.iter().map(|write| of(write) + 32).sum()
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
