//! The rate limit: a bucket of tokens for each caller. Must never grow without bound.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#rate-limiting>

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hearth_base::{Clock, Millis, config::Limits};
use hearth_client_api::{RateLimit, Refusal};
use ruma::{OwnedUserId, UserId};

/// How many callers are remembered; past it those who are not in debt are forgotten, and then everybody.
const MOST_CALLERS: usize = 100_000;

/// Lets each caller make some requests a second, and some more at once.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    /// Milliseconds that one request costs.
    cost: u64,
    /// Milliseconds that can be owed at most.
    depth: u64,
    /// By caller, the moment at which nothing is owed any more.
    debts: Mutex<HashMap<Caller, Millis>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Caller {
    User(OwnedUserId),
    Address(IpAddr),
}

impl Pace {
    /// The rate limit that `limits` asks for, if any.
    pub(crate) fn of(limits: &Limits, clock: Arc<dyn Clock>) -> Option<Arc<dyn RateLimit>> {
        if !limits.rate_limit {
            return None;
        }
        let cost = (1000 / u64::from(limits.requests_per_second.max(1))).max(1);
        Some(Arc::new(Self {
            clock,
            cost,
            depth: cost * u64::from(limits.request_burst.max(1)),
            debts: Mutex::default(),
        }))
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
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if debts.len() >= MOST_CALLERS && !debts.contains_key(&caller) {
            debts.retain(|_, until| *until > now);
            if debts.len() >= MOST_CALLERS {
                debts.clear();
            }
        }
        let until = debts.entry(caller).or_insert(now);
        let paid = Millis((*until).max(now).0 + self.cost);
        let ahead = paid.since(now);
        let depth = Duration::from_millis(self.depth);
        if ahead > depth {
            return Err(Refusal {
                retry_after: ahead - depth,
            });
        }
        *until = paid;
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
        let pace = Pace::of(&limits, Arc::new(clock.clone())).unwrap();
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
        assert!(Pace::of(&off, Arc::new(clock)).is_none());
    }
}
