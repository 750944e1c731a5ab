//! Owns a memory of the users of this server in rooms with few of them: each message asks whether its sender is joined, and
//! which of its words are the names of members. Who is joined follows from the state, which the number of the room and the root
//! of its tree name, so that what is remembered stays true.

use std::sync::Arc;

use hearth_store::{Direction, View};
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedUserId, UserId};

use crate::{Error, Head, Membership, member::LOCAL_JOINED, plan::Plan, state::Root};

/// How many users of a room are remembered at most.
const FEW: usize = 64;

/// How many users of all rooms together.
const REMEMBERED: u64 = 20_000;

/// For how many states the memory is made.
const STATES: usize = 4_096;

/// In the order of their names; nothing for a room with more than a few.
type Locals = Option<Arc<[Box<str>]>>;

/// By the number and the state of a room.
pub(crate) struct KnownLocals(Cache<(u64, Root), Locals, ByUsers>);

#[derive(Clone)]
struct ByUsers;

impl Weighter<(u64, Root), Locals> for ByUsers {
    fn weight(&self, _: &(u64, Root), locals: &Locals) -> u64 {
        locals.as_ref().map_or(1, |users| users.len() as u64 + 1)
    }
}

impl Default for KnownLocals {
    fn default() -> Self {
        Self(Cache::with_weighter(STATES, REMEMBERED, ByUsers))
    }
}

impl KnownLocals {
    async fn of(&self, view: &View, room_id: &str, head: &Head) -> Result<Locals, Error> {
        let state = (head.number, head.state);
        if let Some(known) = self.0.get(&state) {
            return Ok(known);
        }
        let found: Vec<((String, String), ())> = view
            .scan_prefix(&LOCAL_JOINED, (room_id,), Direction::Forward, FEW + 1)
            .await?;
        let are_few = found.len() <= FEW;
        let locals = are_few.then(|| {
            let users = found.into_iter().map(|((_, user), ())| user.into());
            users.collect()
        });
        self.0.insert(state, locals.clone());
        Ok(locals)
    }
}

impl Plan {
    /// Those of `users`, of this server, who are joined.
    pub(crate) async fn joined_here(
        &self,
        mut users: Vec<OwnedUserId>,
    ) -> Result<Vec<OwnedUserId>, Error> {
        if users.is_empty() {
            return Ok(users);
        }
        // What the plan changes is known to itself alone.
        if let Some(head) = self.unmoved() {
            let known = &self.rooms.0.known_locals;
            if let Some(locals) = known.of(&self.view, self.room_id(), head).await? {
                let is_joined = |user: &UserId| {
                    let found = locals.binary_search_by(|local| (**local).cmp(user.as_str()));
                    found.is_ok()
                };
                users.retain(|user| is_joined(user));
                return Ok(users);
            }
        }
        let members = self.members_among(&users).await?;
        let mut members = members.into_iter();
        users.retain(|_| {
            let member = members.next().flatten();
            member.is_some_and(|member| member.membership == Membership::Join)
        });
        Ok(users)
    }
}
