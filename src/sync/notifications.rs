//! Owns the list of what notified a user, newest first, found by asking the rules of the newest events of the user's rooms:
//! nothing is written down for each member. Bounded: older events than [`MAX_LOOKED_AT`] a page are left to the next.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3notifications>

use std::{
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use hearth_rooms::{Head, Member, Membership, ReadMarks, StoredEvent, thread_root};
use hearth_store::{Direction, Position, View};
use ruma::{OwnedRoomId, UserId, push::Action};

use crate::{
    Error, Sync,
    rules::{Manner, Rules},
    service::Shared,
    verdicts,
};

/// In how many rooms is looked, those with the newest events.
const MAX_ROOMS: usize = 200;
/// How many events are looked at for a page.
const MAX_LOOKED_AT: usize = 2_000;
/// How many events of a room are read at a time.
const CHUNK: usize = 20;

/// An event that notified a user.
#[derive(Clone, Debug)]
pub struct Notified {
    /// Which.
    pub event: Arc<StoredEvent>,
    /// What the rule that it matches says.
    pub actions: Vec<Action>,
    /// Whether the user has read it.
    pub is_read: bool,
}

/// A page of what notified a user.
#[derive(Clone, Debug, Default)]
pub struct NotifiedPage {
    /// Newest first.
    pub notified: Vec<Notified>,
    /// Before which position the next page goes on; nothing if there is no more.
    pub next: Option<Position>,
}

/// A room on the way back through its timeline.
struct Walk {
    id: OwnedRoomId,
    member: Member,
    head: Head,
    marks: Option<ReadMarks>,
    ahead: VecDeque<Arc<StoredEvent>>,
    /// Up to where the next events are read.
    upto: Position,
}

impl Sync {
    /// What notified `user` before a position (the end of the log, if absent): `limit` events at most; with
    /// `only_highlights`, those that are highlighted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn notifications(
        &self,
        view: &View,
        user: &UserId,
        before: Option<Position>,
        limit: usize,
        only_highlights: bool,
    ) -> Result<NotifiedPage, Error> {
        let shared = self.shared();
        let rules = verdicts::rules_of(shared, view, user).await?;
        let before = before.unwrap_or(view.position().next());
        let upto = Position(before.0.saturating_sub(1));
        let mut walks = walks(shared, view, user, &rules, upto).await?;
        // By what may come next; a room that was not read yet stands where its newest event is.
        let mut order: BinaryHeap<(Position, usize)> = walks
            .iter()
            .enumerate()
            .map(|(index, walk)| (walk.upto, index))
            .collect();
        let mut page = NotifiedPage::default();
        let mut looked_at = 0;
        while let Some((position, index)) = order.pop() {
            if page.notified.len() == limit || looked_at == MAX_LOOKED_AT {
                page.next = Some(position.next());
                break;
            }
            let walk = &mut walks[index];
            if walk.ahead.is_empty() {
                walk.fill(shared, view).await?;
            } else if let Some(event) = walk.ahead.pop_front() {
                looked_at += 1;
                let found = judge(shared, view, (user, &rules), walk, event).await?;
                page.notified.extend(
                    found
                        .filter(|(_, highlights)| *highlights || !only_highlights)
                        .map(|(notified, _)| notified),
                );
            }
            order.extend(walk.next().map(|position| (position, index)));
        }
        Ok(page)
    }
}

/// The rooms in which anything may notify, at the newest events up to `upto`.
async fn walks(
    shared: &Shared,
    view: &View,
    user: &UserId,
    rules: &Rules,
    upto: Position,
) -> Result<Vec<Walk>, Error> {
    let mut joined = shared.rooms.rooms_of(view, user).await?;
    joined.retain(|(room, member)| {
        member.membership == Membership::Join && rules.manner(room) != Manner::Silent
    });
    let ids = joined.iter().map(|(room, _)| &**room);
    let heads = shared.rooms.heads(view, ids).await?;
    let mut walks: Vec<Walk> = joined
        .into_iter()
        .zip(heads)
        .filter_map(|((id, member), head)| {
            let head = head?;
            Some(Walk {
                upto: head.position.min(upto),
                id,
                member,
                head,
                marks: None,
                ahead: VecDeque::new(),
            })
        })
        .collect();
    walks.sort_unstable_by_key(|walk| std::cmp::Reverse(walk.head.position));
    walks.truncate(MAX_ROOMS);
    Ok(walks)
}

impl Walk {
    async fn fill(&mut self, shared: &Shared, view: &View) -> Result<(), Error> {
        let (after, upto) = (self.member.position, self.upto);
        let found = shared
            .rooms
            .timeline(view, &self.id, after, upto, Direction::Backward, CHUNK)
            .await?;
        self.upto = match found.last() {
            Some(last) if found.len() == CHUNK => Position(last.position.0.saturating_sub(1)),
            _ => after,
        };
        self.ahead = found.into();
        Ok(())
    }

    /// Where its next event stands, at most; nothing when there is none.
    fn next(&self) -> Option<Position> {
        let known = self.ahead.front().map(|event| event.position);
        known.or_else(|| (self.upto > self.member.position).then_some(self.upto))
    }
}

/// The event, if it notifies, and whether it is highlighted.
async fn judge(
    shared: &Shared,
    view: &View,
    (user, rules): (&UserId, &Rules),
    walk: &mut Walk,
    event: Arc<StoredEvent>,
) -> Result<Option<(Notified, bool)>, Error> {
    if event.pdu.sender() == user || event.redacted_by.is_some() {
        return Ok(None);
    }
    let verdict = verdicts::verdict(shared, view, (user, rules), &walk.head, &event).await?;
    if !verdict.notifies {
        return Ok(None);
    }
    let marks = match &walk.marks {
        Some(marks) => marks,
        None => {
            let joined_at = walk.member.since;
            let rooms = &shared.rooms;
            let place = (&*walk.id, &walk.head);
            let marks = rooms.marks(view, user, place, joined_at).await?;
            walk.marks.insert(marks)
        }
    };
    let thread = thread_root(&event.pdu);
    let notified = Notified {
        actions: rules.actions(verdict),
        is_read: marks.covers(event.position, thread.as_deref()),
        event,
    };
    Ok(Some((notified, verdict.highlights)))
}
