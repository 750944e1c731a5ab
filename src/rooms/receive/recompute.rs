//! Owns computing a room again from its events, in the order in which they came: the state before and after each, whether the
//! rules allow it, the heads and the current state. What comes out is compared with what is stored. Must never write.
//!
//! What other servers told cannot be computed: where an event came before those that it follows, its state is taken as it was
//! told, and what follows from it is computed. So is all of before a room that was partial became whole. A verdict is left as it is
//! that a redaction may have changed since, or that may be a policy server's.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use hearth_protocol::Pdu;
use hearth_store::{Direction, Family, Position, Table};
use ruma::{OwnedRoomId, RoomId, UserId};
use tokio::task::yield_now;

use super::{accept::MAX_EXTREMITIES, judge::Mark};
use crate::{
    Error, Membership, Rooms, StoredEvent,
    forks::FORKS,
    membership_of,
    partial::{COMPLETED, Completed},
    plan::Plan,
    policy::POLICY,
    state::Root,
    timeline::{DEPTHS, EDGES, TIMELINE, parse_id},
};

mod compare;

/// (room, position) to an event that was rejected or soft-failed, which no other index names.
pub(crate) const ASIDE: Table<(String, Position), String> =
    Table::new(151, "kept_aside", Family::Index);

/// How many events are looked at over one view.
const TOGETHER: usize = 256;

/// How many differences are told.
const MAX_TOLD: usize = 100;

/// From how many events on that are otherwise than they are stored there is no use in going on.
const MAX_OTHERWISE: usize = 10_000;

/// How many events that follow one are looked at.
const MAX_FOLLOWERS: usize = 64;

/// What came out when a room was computed again.
#[derive(Clone, Debug, Default)]
pub struct Recomputed {
    /// How many events were looked at.
    pub events: u64,
    /// How many of them have a state that another server told.
    pub told: u64,
    /// How many verdicts were left as they are, since a redaction may have changed what they rest on, or the room had a policy
    /// server.
    pub unclear: u64,
    /// In how many places what is stored is not what was computed.
    pub count: u64,
    /// The first hundred of those, each a line for people.
    pub differences: Vec<String>,
}

impl Recomputed {
    fn note(&mut self, difference: impl Display) {
        self.count += 1;
        if self.differences.len() < MAX_TOLD {
            self.differences.push(difference.to_string());
        }
    }
}

/// Where an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the timeline: it was news.
    Timeline,
    /// In the history before it.
    History,
    /// Nowhere: it was not allowed.
    Aside,
}

/// A verdict on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    SoftFailed,
    Rejected,
}

impl Verdict {
    fn of(event: &StoredEvent) -> Self {
        match (event.pdu.is_rejected(), event.soft_failed) {
            (true, _) => Self::Rejected,
            (false, true) => Self::SoftFailed,
            (false, false) => Self::Accepted,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::SoftFailed => "soft-failed",
            Self::Rejected => "rejected",
        })
    }
}

impl Rooms {
    /// Computes a room again from its events and compares: their states, whether they are rejected or soft-failed, the heads,
    /// the current state, the members. Reads all of the room, some hundred events at a time; the room may go on meanwhile.
    ///
    /// # Errors
    /// `NotFound` for a room of which this server has no events, `Unreachable` for one that is partial; those of the store.
    pub async fn recompute(&self, room_id: &RoomId) -> Result<Recomputed, Error> {
        let plan = opened(self, room_id).await?;
        if plan.partial.is_some() {
            let reason = "the members of the room are still being fetched";
            return Err(Error::Unreachable(reason.to_owned()));
        }
        let (stored, upto) = (plan.head.clone(), plan.head.position);
        let completed = plan.view.get(&COMPLETED, room_id.as_str()).await?;
        let mut again = Again {
            completed,
            rooms: self.clone(),
            room_id: room_id.to_owned(),
            upto,
            plan,
            otherwise: 0,
            found: Recomputed::default(),
        };
        again.compare_members().await?;
        again.plan.head.extremities.clear();
        again.plan.head.state = Root::EMPTY;
        again.history().await?;
        again.news().await?;
        again.pass_completion(Position::MAX);
        again.compare_head(stored.state, stored.extremities).await?;
        Ok(again.found)
    }
}

async fn opened(rooms: &Rooms, room_id: &RoomId) -> Result<Plan, Error> {
    Plan::open(rooms, room_id.to_owned())
        .await?
        .ok_or_else(|| Error::not_found("there are no events of such a room"))
}

/// A room that is computed again.
struct Again {
    rooms: Rooms,
    room_id: OwnedRoomId,
    /// How the room became whole, if it was partial, until events of after that are looked at.
    completed: Option<Completed>,
    /// Where the room ends.
    upto: Position,
    /// Never committed. Its head is what was computed so far, and its events those that are otherwise than they are stored.
    plan: Plan,
    /// How many are.
    otherwise: usize,
    found: Recomputed,
}

impl Again {
    /// The events of before, which came later than what follows them.
    async fn history(&mut self) -> Result<(), Error> {
        let room_id = self.room_id.clone();
        let room = room_id.as_str();
        let mut from = (0, Position::ZERO);
        loop {
            let range = (room, from.0, from.1)..(room, u64::MAX, Position::MAX);
            let found: Vec<((String, u64, Position), String)> = self
                .plan
                .view
                .scan(&DEPTHS, range, Direction::Forward, TOGETHER)
                .await?;
            let is_last = found.len() < TOGETHER;
            for ((_, depth, position), id) in found {
                from = (depth, position.next());
                let key = (room, position);
                let is_news = self.plan.view.get(&TIMELINE, key).await?.is_some();
                if !is_news && position <= self.upto {
                    self.look_at(position, &id, Place::History).await?;
                }
            }
            if is_last {
                return Ok(());
            }
            self.go_on().await?;
        }
    }

    /// The events in the order in which they came, those that were kept aside among them.
    async fn news(&mut self) -> Result<(), Error> {
        let room_id = self.room_id.clone();
        let room = room_id.as_str();
        let mut after = Position::ZERO;
        loop {
            let range = || (room, after.next())..(room, self.upto.next());
            let view = &self.plan.view;
            let news: Vec<((String, Position), String)> = view
                .scan(&TIMELINE, range(), Direction::Forward, TOGETHER)
                .await?;
            let aside: Vec<((String, Position), String)> = view
                .scan(&ASIDE, range(), Direction::Forward, TOGETHER)
                .await?;
            // Of what follows a page that is full nothing is known yet.
            let end = |page: &[((String, Position), String)]| match page.last() {
                Some(((_, position), _)) if page.len() == TOGETHER => *position,
                _ => self.upto,
            };
            let end = end(&news).min(end(&aside));
            let news = news.into_iter().map(|item| (item, Place::Timeline));
            let aside = aside.into_iter().map(|item| (item, Place::Aside));
            let mut page: Vec<_> = news
                .chain(aside)
                .map(|(((_, position), id), place)| (position, id, place))
                .filter(|(position, ..)| *position <= end)
                .collect();
            page.sort_unstable_by_key(|(position, ..)| *position);
            for (position, id, place) in page {
                self.pass_completion(position);
                self.look_at(position, &id, place).await?;
            }
            after = end;
            if after >= self.upto {
                return Ok(());
            }
            self.go_on().await?;
        }
    }

    /// Goes on over a new view, with what is otherwise and the nodes that are needed for it.
    async fn go_on(&mut self) -> Result<(), Error> {
        if self.otherwise > MAX_OTHERWISE {
            return Err(Error::corrupt(format!(
                "more than {MAX_OTHERWISE} events are otherwise than they are stored; the first:\n{}",
                self.found.differences.join("\n")
            )));
        }
        yield_now().await;
        let mut next = opened(&self.rooms, &self.room_id).await?;
        next.head.state = self.plan.head.state;
        next.head.extremities = std::mem::take(&mut self.plan.head.extremities);
        next.fresh = std::mem::take(&mut self.plan.fresh);
        let states = next.fresh.values();
        let mut roots: Vec<Root> = states
            .flat_map(|event| [event.state_before, event.state_after])
            .collect();
        roots.push(next.head.state);
        let (nodes, number) = (&self.plan.overlay, next.head.number);
        next.overlay.take_over(nodes, number, &roots);
        self.plan = next;
        Ok(())
    }

    /// Takes the head as it was when the room became whole, if that was before `position`.
    fn pass_completion(&mut self, position: Position) {
        if let Some(completed) = self.completed.take_if(|at| at.position < position) {
            self.plan.head.state = completed.state;
            self.plan.head.extremities = completed.extremities;
        }
    }

    /// Looks at an event. What cannot be computed, since something is missing that should be stored, is a difference too.
    async fn look_at(&mut self, position: Position, id: &str, place: Place) -> Result<(), Error> {
        let id = parse_id(id.to_owned())?;
        let event = self.plan.event(&id).await?;
        let Some(event) = event.filter(|event| event.position == position) else {
            if place != Place::Aside {
                self.found
                    .note(format!("{id} is not where the timeline says"));
            }
            return Ok(());
        };
        self.found.events += 1;
        if self
            .completed
            .as_ref()
            .is_some_and(|at| position <= at.position)
        {
            self.found.told += 1;
            return Ok(());
        }
        match self.compute(&event, place).await {
            Ok(()) => Ok(()),
            Err(Error::Store(error @ hearth_store::Error::Unavailable(_))) => Err(error.into()),
            Err(error) => {
                self.plan.fresh.remove(&id);
                self.found.note(format!("{id} cannot be computed: {error}"));
                Ok(())
            }
        }
    }

    async fn compute(&mut self, event: &Arc<StoredEvent>, place: Place) -> Result<(), Error> {
        let id = event.event_id().to_owned();
        let pdu = event.pdu.clone().marked_rejected(false);
        let state_before = match self.follows_known(event).await? {
            true => self.plan.state_before(&pdu).await?,
            false => {
                self.found.told += 1;
                event.state_before
            }
        };
        if place == Place::Timeline && self.is_entry(&pdu).await? {
            self.plan.head.extremities.clear();
            self.plan.head.state = state_before;
        }
        let verdict = self.verdict(event, &pdu, state_before, place).await?;
        let state_after = match verdict {
            Verdict::Rejected => state_before,
            _ => self.plan.state_after(&pdu, state_before).await?,
        };
        let now = StoredEvent {
            pdu: pdu.marked_rejected(verdict == Verdict::Rejected),
            state_before,
            state_after,
            soft_failed: verdict == Verdict::SoftFailed,
            ..StoredEvent::clone(event)
        };
        let was = Verdict::of(event);
        if was != verdict {
            self.found
                .note(format!("{id} is stored as {was} and has to be {verdict}"));
        }
        let states = [
            ("before", event.state_before, state_before),
            ("after", event.state_after, state_after),
        ];
        for (side, stored, computed) in states {
            let what = format!("the state {side} {id}");
            self.compare_states(&what, stored, computed).await?;
        }
        let is_same = was == verdict
            && event.state_before == state_before
            && event.state_after == state_after;
        if is_same {
            // It may be there as an event of the state after it.
            self.plan.fresh.remove(&id);
        } else {
            self.otherwise += 1;
            self.plan.fresh.insert(id, Arc::new(now.clone()));
        }
        match place != Place::History && verdict == Verdict::Accepted {
            true => self.move_head(&now).await,
            false => Ok(()),
        }
    }

    /// What the rules say; what is stored, if it is another and a redaction or a policy server may be why.
    async fn verdict(
        &mut self,
        event: &StoredEvent,
        pdu: &Pdu,
        state_before: Root,
        place: Place,
    ) -> Result<Verdict, Error> {
        let mark = match place {
            Place::History => self.plan.judge_then(pdu, state_before).await?,
            Place::Timeline | Place::Aside => self.plan.judge(pdu, state_before).await?,
        };
        let verdict = match mark {
            Mark::Accepted => Verdict::Accepted,
            Mark::SoftFailed(_) => Verdict::SoftFailed,
            Mark::Rejected(_) => Verdict::Rejected,
        };
        let stored = Verdict::of(event);
        if verdict == stored {
            return Ok(verdict);
        }
        let policy = self.plan.state(POLICY, "").await?;
        let mut is_unclear = event.redacted_by.is_some() || policy.is_some();
        for id in pdu.auth_events() {
            let named = self.plan.event(id).await?;
            is_unclear |= named.is_some_and(|named| named.redacted_by.is_some());
        }
        self.found.unclear += u64::from(is_unclear);
        Ok(if is_unclear { stored } else { verdict })
    }

    /// Whether all that the event follows was there when it came.
    async fn follows_known(&self, event: &StoredEvent) -> Result<bool, Error> {
        for id in event.pdu.prev_events() {
            let before = self.plan.event(id).await?;
            let is_known = before
                .is_some_and(|before| !before.is_outlier() && before.position < event.position);
            if !is_known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether this server came into the room with the event, from outside: then what it knew of the heads counts no more.
    async fn is_entry(&self, pdu: &Pdu) -> Result<bool, Error> {
        let sender = pdu.sender();
        let is_join = pdu.is("m.room.member", sender.as_str())
            && membership_of(pdu.content().get()) == Membership::Join;
        let head = &self.plan.head;
        let mut left = head.extremities.iter();
        let leaves_heads = left.any(|id| !pdu.prev_events().contains(id));
        if !is_join || !self.rooms.is_local(sender) || !leaves_heads {
            return Ok(false);
        }
        for (event_type, user, id) in self.plan.state_ids(head.state).await? {
            let is_own = event_type == "m.room.member"
                && <&UserId>::try_from(user.as_str()).is_ok_and(|user| self.rooms.is_local(user));
            if is_own
                && let Some(event) = self.plan.event(&id).await?
                && membership_of(event.pdu.content().get()) == Membership::Join
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The heads and the current state after an accepted event, and what the room was before and after it.
    async fn move_head(&mut self, event: &StoredEvent) -> Result<(), Error> {
        let before = match self.plan.head.extremities.is_empty() {
            true => event.state_before,
            false => self.plan.head.state,
        };
        if !self.was_followed(event).await? {
            let id = event.event_id().to_owned();
            let followed = self.plan.followed(&event.pdu).await?;
            let mut extremities = self.plan.head.extremities.clone();
            extremities.retain(|id| !followed.contains(id));
            if extremities.len() >= MAX_EXTREMITIES {
                extremities.remove(0);
            }
            let mut roots = self.plan.states_after(&extremities).await?;
            roots.push(event.state_after);
            self.plan.head.state = self.plan.resolved(&roots).await?;
            extremities.push(id);
            self.plan.head.extremities = extremities;
        }
        let after = self.plan.head.state;
        let key = (self.room_id.as_str(), event.position);
        let stored = self.plan.view.get(&FORKS, key).await?;
        let stored = stored.unwrap_or((event.state_before, event.state_after));
        let id = event.event_id();
        for (side, stored, computed) in [("before", stored.0, before), ("after", stored.1, after)] {
            let what = format!("the state of the room {side} {id} came");
            self.compare_states(&what, stored, computed).await?;
        }
        Ok(())
    }

    /// Whether an event that came before follows this one.
    async fn was_followed(&self, event: &StoredEvent) -> Result<bool, Error> {
        let prefix = (self.room_id.as_str(), event.event_id().as_str());
        let followers: Vec<((String, String, String), ())> = self
            .plan
            .view
            .scan_prefix(&EDGES, prefix, Direction::Forward, MAX_FOLLOWERS)
            .await?;
        for ((_, _, id), ()) in followers {
            let follower = self.plan.event(&parse_id(id)?).await?;
            if follower.is_some_and(|follower| follower.position < event.position) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
