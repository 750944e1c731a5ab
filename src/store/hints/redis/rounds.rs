//! Asking the other nodes whether they have heard all that was published: a round of questions and answers over Redis, which
//! keeps the order of what one node says.
//!
//! Redis tells how many listen when the question is asked, and each of them answers. Whoever does not answer is not waited for
//! for long. Must never hold anything up while Redis is gone.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

/// How long the others may take. A node that hangs costs this much for each round, until its connection is given up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many rounds are under way at most; further ones are not waited for.
const MOST: usize = 10_000;

/// The rounds that are under way.
#[derive(Default)]
pub(super) struct Rounds {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Round>>,
}

struct Round {
    /// How many listen, once that is known.
    wanted: Option<u64>,
    /// How many have answered.
    heard: u64,
    done: oneshot::Sender<()>,
}

/// A round that was begun.
pub(super) struct Begun {
    pub(super) number: u64,
    done: oneshot::Receiver<()>,
}

impl Rounds {
    /// Begins one; `None` if there are too many.
    pub(super) fn begin(&self) -> Option<Begun> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, end) = oneshot::channel();
        let round = Round {
            wanted: None,
            heard: 0,
            done,
        };
        let mut open = self.open.lock();
        if open.len() >= MOST {
            return None;
        }
        open.insert(number, round);
        Some(Begun { number, done: end })
    }

    /// Waits until all have answered, the round is given up, or it takes too long.
    pub(super) async fn finish(&self, round: Begun) {
        if timeout(PATIENCE, round.done).await.is_err() {
            metrics::counter!("hearth_hints_unanswered_total").increment(1);
        }
        self.open.lock().remove(&round.number);
    }

    /// Takes in how many were asked.
    pub(super) fn asked(&self, number: u64, wanted: u64) {
        self.change(number, |round| round.wanted = Some(wanted));
    }

    /// Takes in one answer.
    pub(super) fn answered(&self, number: u64) {
        self.change(number, |round| round.heard += 1);
    }

    /// Gives up rounds whose question was not sent.
    pub(super) fn give_up(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut open = self.open.lock();
        for number in numbers {
            open.remove(&number);
        }
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Round)) {
        let mut open = self.open.lock();
        let Some(round) = open.get_mut(&number) else {
            return;
        };
        change(round);
        if round.wanted.is_some_and(|wanted| round.heard >= wanted)
            && let Some(round) = open.remove(&number)
        {
            // Whoever waited may have gone away.
            round.done.send(()).ok();
        }
    }
}
