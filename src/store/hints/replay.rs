//! Hints that were lost, made good from the store.
//!
//! A node that dies between its commit and its hint, or a Redis that is gone, leaves the other nodes' readers without
//! a wake-up. An engine for many nodes keeps for a while whom each commit concerned; each node looks there twice a second
//! for what it has not heard. So a lost hint comes late, by about a second, and never not at all.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Hint, Hints};
use crate::{Engine, Error};

/// How often the store is asked. Hints that were not heard by the next time are passed on.
const EVERY: Duration = Duration::from_millis(500);

/// After this long without a look, this node stood still, or the store was away: what is found is passed on at once.
const PAUSED: Duration = Duration::from_secs(2);

/// After this long without a look, what was there to see may be gone: the store keeps it for some minutes.
const TOO_LONG: Duration = Duration::from_secs(60);

/// How many heard hints are remembered at most. More of them within a second mean that some readers wake twice.
const REMEMBERED: usize = 1 << 16;

/// Which commits an engine has told about, as the engine counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// Whom commits concerned.
#[derive(Clone, Debug, Default)]
pub struct Concerned {
    /// Their hints, in the order of the commits.
    pub hints: Vec<Hint>,
    /// Ask from here the next time.
    pub mark: Mark,
    /// There are more already.
    pub more: bool,
}

/// The task; ends when this is dropped.
pub struct Replay(JoinHandle<()>);

impl Replay {
    /// Starts looking. Does nothing over an engine of a single process.
    ///
    /// Has to be called inside of a runtime.
    #[must_use]
    pub fn start(engine: Arc<dyn Engine>, hints: Arc<dyn Hints>) -> Self {
        // Subscribed here, not in the task: what is heard after this call counts as heard.
        let heard = hints.subscribe();
        Self(tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut watch = Watch {
                engine,
                hints,
                mark: None,
                looked: Instant::now(),
                heard: Heard::default(),
                unheard: Vec::new(),
            };
            let mut hearing = heard;
            loop {
                tokio::select! {
                    hint = hearing.recv() => match hint {
                        Ok(hint) => watch.heard.note(&hint),
                        // Those that were missed are passed on once more.
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                    _ = ticks.tick() => match watch.look().await {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => {
                            metrics::counter!("hearth_hints_replay_failed_total").increment(1);
                            tracing::debug!(%error, "lost hints were not looked for");
                        }
                    },
                }
            }
        }))
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watch {
    engine: Arc<dyn Engine>,
    hints: Arc<dyn Hints>,
    mark: Option<Mark>,
    /// When all that there was had been seen.
    looked: Instant,
    heard: Heard,
    /// Found the last time, and not heard then.
    unheard: Vec<Hint>,
}

impl Watch {
    /// Passes on what was found the last time and still is not heard, and looks for more; false if there never is any.
    async fn look(&mut self) -> Result<bool, Error> {
        for hint in std::mem::take(&mut self.unheard) {
            if !self.heard.has(&hint) {
                metrics::counter!("hearth_hints_replayed_total").increment(1);
                self.hints.pass_on(hint);
            }
        }
        let now = Instant::now();
        let since = now.duration_since(self.looked);
        if since > TOO_LONG {
            self.hints.moved().forget();
        }
        loop {
            let Some(found) = self.engine.concerned(self.mark).await? else {
                return Ok(false);
            };
            self.mark = Some(found.mark);
            let unheard = found.hints.into_iter();
            let unheard = unheard.filter(|hint| !self.heard.has(hint));
            if since > PAUSED {
                // What there was to hear has passed by while this node stood still.
                unheard.for_each(|hint| self.hints.pass_on(hint));
            } else {
                self.unheard.extend(unheard);
            }
            if !found.more {
                self.looked = now;
                return Ok(true);
            }
        }
    }
}

/// The hints that were heard lately.
#[derive(Default)]
struct Heard {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Heard {
    fn note(&mut self, hint: &Hint) {
        let name = name(hint);
        if self.known.insert(name) {
            self.order.push_back(name);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn has(&self, hint: &Hint) -> bool {
        self.known.contains(&name(hint))
    }
}

/// Tells hints apart: by position and topics, of which a commit has its own.
fn name(hint: &Hint) -> u64 {
    let mut hasher = DefaultHasher::new();
    (hint.position, &hint.topics).hash(&mut hasher);
    hasher.finish()
}
