//! Owns a node's memory of who is there: the records it heard of, when each will mean something else, and in which order
//! changes were announced. Bounded by [`MAX_USERS`]. Must never wait for anything.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use hearth_base::Millis;
use ruma::{OwnedUserId, UserId};

use super::{ACTIVE, Availability, Presence, PresenceStamp, Record};

/// Users of whom something is remembered, on every node. Of who comes on top of them nothing is told, until others leave.
const MAX_USERS: usize = 20_000;
/// By how much each user who is online puts announcements further apart.
const PAUSE_EACH: Duration = Duration::from_millis(5);
/// How far apart they are at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// By how much each user who is online lets it be noticed later that one has gone.
const STRETCH_EACH: Duration = Duration::from_millis(20);
/// By how much at most: a record is written again before its user would count as having nothing to do.
const MAX_STRETCH: Duration = Duration::from_secs(200);

/// What a node knows.
#[derive(Default)]
pub(super) struct Board {
    known: HashMap<OwnedUserId, Known>,
    /// The last announced change of each user.
    order: BTreeMap<PresenceStamp, OwnedUserId>,
    /// Who is to be announced.
    pending: BTreeSet<OwnedUserId>,
    /// When a record may mean something else.
    deadlines: BTreeSet<(Millis, OwnedUserId)>,
    online: u32,
    stamp: PresenceStamp,
    announced_at: Millis,
}

struct Known {
    record: Record,
    /// What was last announced, or is pending.
    told: Presence,
    stamp: Option<PresenceStamp>,
    deadline: Option<Millis>,
}

impl Board {
    pub(super) fn record(&self, user: &UserId) -> Option<&Record> {
        self.known.get(user).map(|known| &known.record)
    }

    pub(super) fn stamp(&self) -> PresenceStamp {
        self.stamp
    }

    /// Takes in a record; says whether there is something to announce. What a user set by hand is announced again if the
    /// last sign of life was long ago.
    pub(super) fn put(
        &mut self,
        user: &UserId,
        record: Record,
        by_hand: bool,
        now: Millis,
    ) -> bool {
        if !self.takes(user) {
            return false;
        }
        if !self.known.contains_key(user) {
            let known = Known {
                record: Record::default(),
                told: Presence::default(),
                stamp: None,
                deadline: None,
            };
            self.known.insert(user.to_owned(), known);
        }
        if let Some(known) = self.known.get_mut(user) {
            known.record = record;
        }
        self.settle(user, by_hand, now)
    }

    /// Looks at what a user is now.
    fn settle(&mut self, user: &UserId, by_hand: bool, now: Millis) -> bool {
        let Some(known) = self.known.get_mut(user) else {
            return false;
        };
        if let Some(old) = known.deadline.take() {
            self.deadlines.remove(&(old, user.to_owned()));
        }
        known.deadline = known.record.next_change(now);
        if let Some(deadline) = known.deadline {
            self.deadlines.insert((deadline, user.to_owned()));
        }
        let new = known.record.at(now);
        let old = &known.told;
        let online = |presence: &Presence| u32::from(presence.availability == Availability::Online);
        self.online = self.online + online(&new) - online(old).min(self.online);
        let is_long_ago = match (old.last_active, new.last_active) {
            (Some(old), Some(new)) => new.since(old) >= ACTIVE,
            (old, new) => old != new,
        };
        let changed = new.availability != old.availability
            || new.message != old.message
            || (by_hand && is_long_ago);
        if changed {
            known.told = new;
            self.pending.insert(user.to_owned());
        }
        changed
    }

    /// Whether there is a record of the user, or place for one.
    pub(super) fn takes(&mut self, user: &UserId) -> bool {
        self.known.contains_key(user) || self.known.len() < MAX_USERS || self.forget_one()
    }

    /// By how much later it is noticed that a user has gone, so that records are written the more rarely.
    pub(super) fn stretch(&self) -> Duration {
        (STRETCH_EACH * self.online).min(MAX_STRETCH)
    }

    /// How long it is until an announcement is due.
    pub(super) fn pause(&self, now: Millis) -> Duration {
        let pause = (PAUSE_EACH * self.online).min(MAX_PAUSE);
        pause.saturating_sub(now.since(self.announced_at))
    }

    /// Puts stamps on what changed.
    pub(super) fn announce(&mut self, now: Millis) -> Vec<OwnedUserId> {
        while let Some((deadline, user)) = self.deadlines.first().cloned()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(known) = self.known.get_mut(&user) {
                known.deadline = None;
            }
            self.settle(&user, false, now);
        }
        self.announced_at = now;
        let pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        for user in &pending {
            let Some(known) = self.known.get_mut(user) else {
                continue;
            };
            self.stamp = PresenceStamp(now.0.max(self.stamp.0 + 1));
            if let Some(old) = known.stamp.replace(self.stamp) {
                self.order.remove(&old);
            }
            self.order.insert(self.stamp, user.clone());
        }
        pending
    }

    /// Whose change was announced after `stamp`, the latest first.
    pub(super) fn changes(&self, stamp: PresenceStamp, limit: usize) -> Vec<OwnedUserId> {
        let after = PresenceStamp(stamp.0.saturating_add(1));
        let changes = self.order.range(after..).rev().take(limit);
        changes.map(|(_, user)| user.clone()).collect()
    }

    /// Makes room: forgets whoever has been away for longest.
    fn forget_one(&mut self) -> bool {
        let is_away = |user: &&OwnedUserId| {
            let known = self.known.get(*user);
            known.is_none_or(|known| known.told.availability == Availability::Offline)
        };
        let Some(user) = self.order.values().find(is_away).cloned() else {
            return false;
        };
        if let Some(known) = self.known.remove(&user) {
            if let Some(stamp) = known.stamp {
                self.order.remove(&stamp);
            }
            if let Some(deadline) = known.deadline {
                self.deadlines.remove(&(deadline, user.clone()));
            }
        }
        self.pending.remove(&user);
        true
    }
}
