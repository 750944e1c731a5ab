//! What was seen of a server's answers. Must never keep more of them than counts, and the faults of a bounded number.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::{Exchange, Specification};

/// How many faults are kept; further ones say the same or come after the first are mended.
const MOST_FAULTS: usize = 200;

/// Judges every answer that it is shown.
#[derive(Debug)]
pub struct Recorder {
    specification: &'static Specification,
    seen: Mutex<BTreeMap<(usize, u16), usize>>,
    faults: Mutex<BTreeSet<String>>,
}

impl Recorder {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(specification: &'static Specification) -> Self {
        Self {
            specification,
            seen: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// Judges an answer. One that is as it should be is counted.
    pub fn record(&self, exchange: &Exchange<'_>) {
        let Some(judgement) = self.specification.judge(exchange) else {
            return;
        };
        if judgement.faults.is_empty() {
            let key = (judgement.operation, exchange.status);
            *self.seen.lock().entry(key).or_default() += 1;
            return;
        }
        let mut faults = self.faults.lock();
        for fault in judgement.faults {
            if faults.len() < MOST_FAULTS {
                faults.insert(fault);
            }
        }
    }

    /// How many right answers there were to an operation, by status.
    #[must_use]
    pub fn seen(&self, operation: usize) -> BTreeMap<u16, usize> {
        let seen = self.seen.lock();
        let of_it = seen.range((operation, 0)..=(operation, u16::MAX));
        of_it
            .map(|((_, status), count)| (*status, *count))
            .collect()
    }

    /// What was wrong, each fault once.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().iter().cloned().collect()
    }
}
