//! The rate limit: a bucket of tokens for each caller. Must never grow without bound, nor make a request wait for another node.
//!
//! Nodes that share a Redis tell each other a few times a second what each caller spent, so that asking many nodes gains a caller a
//! fraction of a second at most. While Redis is away each node counts alone.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#rate-limiting>

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hearth_base::{Clock, Millis, config::Limits};
use hearth_client_api::{RateLimit, Refusal};
use hearth_store::{Hints, Lifetime};
use ruma::{OwnedUserId, UserId};
use tokio::time::sleep;

/// How many callers are remembered; past it those who are not in debt are forgotten, and then everybody.
const MOST_CALLERS: usize = 100_000;

/// How often nodes tell each other.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Of how many callers a node tells at once; of the others the next time.
const TOLD_TOGETHER: usize = 500;

/// Lets each caller make some requests a second, and some more at once.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    /// Milliseconds that one request costs.
    cost: u64,
    /// Milliseconds that can be owed at most.
    depth: u64,
    debts: Mutex<HashMap<Caller, Debt>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Caller {
    User(OwnedUserId),
    Address(IpAddr),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

struct Debt {
    /// The moment at which nothing is owed any more.
    until: Millis,
    /// Requests of which other nodes were not told.
    untold: i64,
    /// What all nodes together had counted when this one last looked.
    counted: Option<i64>,
}

impl Pace {
    /// The rate limit that `limits` asks for, if any; shared with other nodes over `hints`, if there are.
    ///
    /// Has to be called inside of a runtime if there are.
    pub(crate) fn of(
        limits: &Limits,
        clock: Arc<dyn Clock>,
        hints: Option<Arc<dyn Hints>>,
    ) -> Option<Arc<Self>> {
        if !limits.rate_limit {
            return None;
        }
        let cost = (1000 / u64::from(limits.requests_per_second.max(1))).max(1);
        let pace = Arc::new(Self {
            clock,
            cost,
            depth: cost * u64::from(limits.request_burst.max(1)),
            debts: Mutex::default(),
        });
        if let Some(hints) = hints {
            tokio::spawn(tell_others(Arc::downgrade(&pace), hints));
        }
        Some(pace)
    }

    fn debts(&self) -> MutexGuard<'_, HashMap<Caller, Debt>> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Callers of whom other nodes do not know everything, and how much.
    fn untold(&self) -> Vec<(Caller, i64)> {
        let mut debts = self.debts();
        let untold = debts.iter_mut().filter(|(_, debt)| debt.untold > 0);
        untold
            .take(TOLD_TOGETHER)
            .map(|(caller, debt)| (caller.clone(), std::mem::take(&mut debt.untold)))
            .collect()
    }

    /// Tells other nodes what callers spent here, and takes in what they spent elsewhere.
    async fn tell(&self, hints: &dyn Hints) {
        // Long enough to see what others add in between, and not much of what was paid long ago.
        let lifetime = Lifetime(2 * self.depth.max(1000));
        let untold = self.untold();
        let counted = untold.iter().map(|(caller, spent)| {
            let key = format!("pace:{caller}");
            hints.add(&key, *spent, lifetime)
        });
        let counted = futures_util::future::join_all(counted).await;
        let mut debts = self.debts();
        for ((caller, spent), counted) in untold.into_iter().zip(counted) {
            let (Ok(counted), Some(debt)) = (counted, debts.get_mut(&caller)) else {
                continue;
            };
            // A counter that is lower than it was has begun anew. At first sight nobody is charged for the past.
            let before = match debt.counted.replace(counted) {
                Some(before) if before + spent <= counted => before,
                Some(_) => 0,
                None => counted - spent,
            };
            let elsewhere = u64::try_from(counted - spent - before).unwrap_or(0);
            let now = self.clock.now();
            let owed = debt
                .until
                .max(now)
                .0
                .saturating_add(elsewhere.saturating_mul(self.cost));
            debt.until = Millis(owed.min(now.0 + 2 * self.depth));
        }
    }
}

async fn tell_others(pace: Weak<Pace>, hints: Arc<dyn Hints>) {
    loop {
        sleep(TELL_EVERY).await;
        let Some(pace) = pace.upgrade() else { return };
        pace.tell(&*hints).await;
    }
}

impl RateLimit for Pace {
    fn admit(&self, user: Option<&UserId>, address: Option<IpAddr>) -> Result<(), Refusal> {
        let caller = match (user, address) {
            (Some(user), _) => Caller::User(user.to_owned()),
            (None, Some(address)) => Caller::Address(address),
            (None, None) => return Ok(()),
        };
        let now = self.clock.now();
        let mut debts = self.debts();
        if debts.len() >= MOST_CALLERS && !debts.contains_key(&caller) {
            debts.retain(|_, debt| debt.until > now);
            if debts.len() >= MOST_CALLERS {
                debts.clear();
            }
        }
        let debt = debts.entry(caller).or_insert(Debt {
            until: now,
            untold: 0,
            counted: None,
        });
        let paid = Millis(debt.until.max(now).0 + self.cost);
        let ahead = paid.since(now);
        let depth = Duration::from_millis(self.depth);
        if ahead > depth {
            return Err(Refusal {
                retry_after: ahead - depth,
            });
        }
        debt.until = paid;
        debt.untold += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::user_id;

    use super::*;
    use hearth_base::ManualClock;

    #[test]
    fn a_burst_is_let_in_and_then_the_rate() {
        let clock = ManualClock::at(Millis(1_000_000));
        let limits = Limits {
            requests_per_second: 10,
            request_burst: 3,
            ..Limits::default()
        };
        let pace = Pace::of(&limits, Arc::new(clock.clone()), None).unwrap();
        let ask = || pace.admit(Some(user_id!("@a:x.org")), None);
        (0..3).for_each(|_| ask().unwrap());
        let refused = ask().unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        clock.advance(refused.retry_after);
        ask().unwrap();
        ask().unwrap_err();
        pace.admit(Some(user_id!("@b:x.org")), None).unwrap();
        let off = Limits {
            rate_limit: false,
            ..limits
        };
        assert!(Pace::of(&off, Arc::new(clock), None).is_none());
    }

    #[tokio::test]
    async fn what_is_spent_at_one_node_is_owed_at_the_other() {
        let clock = ManualClock::at(Millis(1_000_000));
        let hints = hearth_store::MemoryHints::new(|| 0);
        let limits = Limits {
            requests_per_second: 10,
            request_burst: 10,
            ..Limits::default()
        };
        let node = || Pace::of(&limits, Arc::new(clock.clone()), None).unwrap();
        let (one, two) = (node(), node());
        let ask = |pace: &Pace| pace.admit(Some(user_id!("@a:x.org")), None);
        for pace in [&one, &two] {
            ask(pace).unwrap();
            pace.tell(&hints).await;
        }
        (0..9).for_each(|_| ask(&one).unwrap());
        ask(&one).unwrap_err();
        one.tell(&hints).await;
        // What the other node was told of counts there from the next look on, and not twice.
        ask(&two).unwrap();
        two.tell(&hints).await;
        let refused = ask(&two).unwrap_err();
        clock.advance(refused.retry_after);
        ask(&two).unwrap();
        two.tell(&hints).await;
        clock.advance(Duration::from_secs(10));
        (0..10).for_each(|_| ask(&two).unwrap());
        ask(&two).unwrap_err();
    }
}
