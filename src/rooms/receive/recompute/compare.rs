//! Owns the comparison of what is stored of a room with what was computed, in words for people. Must never stop at a difference.

use std::collections::HashMap;

use hearth_store::{Direction, View};
use ruma::{OwnedEventId, UserId};

use super::{Again, TOGETHER};
use crate::{Error, Membership, member::MEMBERS, state::Root};

/// How many entries of two states that differ are told.
const MAX_ENTRIES: usize = 5;

impl Again {
    pub(super) async fn compare_states(
        &mut self,
        what: &str,
        stored: Root,
        computed: Root,
    ) -> Result<(), Error> {
        if stored == computed {
            return Ok(());
        }
        let changes = match self.plan.differences(stored, computed).await {
            Ok(changes) => changes,
            Err(error) => {
                self.found.note(format!("{what} cannot be read: {error}"));
                return Ok(());
            }
        };
        let count = changes.len();
        let shown = |id: Option<OwnedEventId>| id.map_or("nothing".to_owned(), |id| id.to_string());
        let entries = changes.into_iter().take(MAX_ENTRIES).map(|change| {
            format!(
                "({}, {:?}) is {} and has to be {}",
                change.event_type,
                change.state_key,
                shown(change.old),
                shown(change.new)
            )
        });
        let entries = entries.collect::<Vec<_>>().join(", ");
        self.found.note(format!(
            "{what} differs in {count} entries, at first: {entries}"
        ));
        Ok(())
    }

    /// Compares the index of members and the counts with the current state as it is stored.
    pub(super) async fn compare_members(&mut self) -> Result<(), Error> {
        let head = self.plan.head.clone();
        let mut members: HashMap<String, OwnedEventId> = HashMap::new();
        for (event_type, user, id) in self.plan.state_ids(head.state).await? {
            if event_type == "m.room.member" && <&UserId>::try_from(user.as_str()).is_ok() {
                members.insert(user, id);
            }
        }
        let room_id = self.room_id.clone();
        // Of a room in which this server is not any more its users may hear by themselves: invites, and their ends.
        let (view, own) = (&self.plan.view, self.rooms.server_name());
        let is_in = self.rooms.is_server_in_room(view, own, &room_id).await?;
        let mut heard = false;
        let (mut joined, mut invited) = (0, 0);
        let mut from = String::new();
        loop {
            let range = (room_id.as_str(), from.as_str())..(room_id.as_str(), "\u{10FFFF}");
            let view: &View = &self.plan.view;
            let page = view
                .scan(&MEMBERS, range, Direction::Forward, TOGETHER)
                .await?;
            let is_last = page.len() < TOGETHER;
            for ((_, user), member) in page {
                joined += u64::from(member.membership == Membership::Join);
                invited += u64::from(member.membership == Membership::Invite);
                from = format!("{user}\u{1}");
                let in_state = members.remove(&user);
                // Who is in no state any more has left.
                let has_left = in_state.is_none() && member.membership == Membership::Leave;
                if in_state.as_ref() == Some(&member.event_id) || has_left {
                    continue;
                }
                let is_own =
                    <&UserId>::try_from(user.as_str()).is_ok_and(|u| self.rooms.is_local(u));
                if is_own && !is_in {
                    heard = true;
                } else {
                    self.found
                        .note(format!("the membership of {user} is not that of the state"));
                }
            }
            if is_last {
                break;
            }
        }
        for user in members.keys() {
            self.found.note(format!("the membership of {user} is lost"));
        }
        let counts = [
            ("joined", head.joined, joined),
            ("invited", head.invited, invited),
        ];
        for (what, stored, counted) in counts {
            if stored != counted && !heard {
                self.found.note(format!(
                    "{stored} users are said to be {what}, and {counted} are"
                ));
            }
        }
        Ok(())
    }

    pub(super) async fn compare_head(
        &mut self,
        state: Root,
        mut extremities: Vec<OwnedEventId>,
    ) -> Result<(), Error> {
        let computed = self.plan.head.state;
        self.compare_states("the current state", state, computed)
            .await?;
        let mut now = std::mem::take(&mut self.plan.head.extremities);
        now.sort_unstable();
        extremities.sort_unstable();
        if now != extremities {
            let listed = |ids: &[OwnedEventId]| {
                let ids = ids.iter().map(ToString::to_string);
                ids.collect::<Vec<_>>().join(" ")
            };
            self.found.note(format!(
                "the forward extremities are {} and have to be {}",
                listed(&extremities),
                listed(&now)
            ));
        }
        Ok(())
    }
}
