//! Owns what a reader knows, and what must hold of it. Must never know when anything was written but by what it sees.

use std::{collections::HashSet, fmt};

use crate::commits::{Batch, Shard};

/// What a simulation finds.
pub(crate) enum Fault {
    /// So many batches are never written: their groups wait for each other.
    Stuck(usize),
    /// A reader was shown something again.
    Repeated,
    /// A reader has read to the end, and so many batches were never shown.
    Missed(usize),
    /// A view shows a batch in one of its shards alone.
    Torn,
    /// A view shows a batch without one that was answered before it was asked for.
    Unfounded,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(count) => write!(to, "{count} batches wait for each other for ever"),
            Self::Repeated => write!(to, "a batch was read twice"),
            Self::Missed(count) => write!(to, "{count} batches were never read"),
            Self::Torn => write!(to, "a view shows one half of a batch"),
            Self::Unfounded => write!(to, "a view shows a batch without what came before it"),
        }
    }
}

/// Who reads on from a token.
pub(crate) struct Reader {
    /// How far it has read, by shard.
    token: Vec<u64>,
    /// How far its present view goes, by shard.
    pub(crate) view: Vec<u64>,
    seen: HashSet<usize>,
}

impl Reader {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            token: vec![0; shards],
            view: vec![0; shards],
            seen: HashSet::new(),
        }
    }

    /// Reads all that lies between its token and its view, which becomes the token.
    pub(crate) fn take(&mut self, shards: &[Shard], batches: &[Batch]) -> Result<(), Fault> {
        let mut news: Vec<usize> = Vec::new();
        for (number, shard) in shards.iter().enumerate() {
            let range = self.token[number] + 1..self.view[number] + 1;
            news.extend(shard.entries.range(range).map(|(_, batch)| *batch));
        }
        self.token.clone_from(&self.view);
        news.sort_unstable();
        for found in news.chunk_by(|a, b| a == b) {
            if self.seen.contains(&found[0]) {
                // The other half of what was told before, or the same again.
                return Err(match batches[found[0]].shards.len() {
                    1 => Fault::Repeated,
                    _ => Fault::Torn,
                });
            }
            if found.len() < batches[found[0]].shards.len() {
                return Err(Fault::Torn);
            }
            if found.len() > batches[found[0]].shards.len() {
                return Err(Fault::Repeated);
            }
            // In the order in which they were asked for: what came before has a smaller number.
            if batches[found[0]]
                .after
                .is_some_and(|before| !self.seen.contains(&before))
            {
                return Err(Fault::Unfounded);
            }
            self.seen.insert(found[0]);
        }
        Ok(())
    }

    /// Whether nothing of `written` batches was left out.
    pub(crate) fn has_all(&self, written: usize) -> Result<(), Fault> {
        match written - self.seen.len() {
            0 => Ok(()),
            missed => Err(Fault::Missed(missed)),
        }
    }
}
