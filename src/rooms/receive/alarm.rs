//! Owns noticing that the state of a room went back: users who are no longer in it though nobody took them out, powers that are
//! those of before. Branches that meet may come to that by the rules, and so may a server that tells a wrong state: neither can be
//! told from the other here, so an operator is told. Must never change what was decided.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#state-resolution>

use std::sync::Arc;

use hearth_protocol::Pdu;
use hearth_store::{Batch, CommitError, Direction, Family, Json, Position, Table};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};

use crate::{Error, Membership, Rooms, StoredEvent, membership_of, plan::Plan, state::Root};

/// Position to an alarm of which nobody was told yet.
const ALARMS: Table<Position, Json<Alarm>> = Table::new(152, "alarms", Family::Log);

/// How many users an alarm names.
const MAX_NAMED: usize = 20;

/// How many alarms are told together.
const TOGETHER: usize = 100;

/// The state of a room went back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The room.
    pub room_id: OwnedRoomId,
    /// With which event.
    pub event_id: OwnedEventId,
    /// How many users are no longer joined though no newer event says so.
    pub count: usize,
    /// The first of them.
    pub users: Vec<String>,
    /// Whether the power levels are those of before, or none.
    pub powers: bool,
}

impl Rooms {
    /// Alarms of which nobody was told yet, the oldest first, a hundred at most; what to hand to [`Rooms::forget_alarms`] once
    /// somebody was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn alarms(&self) -> Result<Vec<(Position, Alarm)>, Error> {
        let view = self.0.store.view().await?;
        let range = Position::ZERO..Position::MAX;
        let found = view
            .scan(&ALARMS, range, Direction::Forward, TOGETHER)
            .await?;
        let alarms = found
            .into_iter()
            .map(|(position, Json(alarm))| (position, alarm));
        Ok(alarms.collect())
    }

    /// Forgets alarms that were told.
    ///
    /// # Errors
    /// Those of the store; then they are told again.
    pub async fn forget_alarms(&self, told: &[Position]) -> Result<(), Error> {
        let mut batch = Batch::new();
        for position in told {
            batch.delete(&ALARMS, *position);
        }
        match self.0.store.commit(batch).await {
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }
}

impl Plan {
    /// What of the current state goes back when it becomes `next` with an event that stands between `states`.
    pub(super) async fn foresee_alarm(
        &self,
        pdu: &Pdu,
        states: (Root, Root),
        next: Option<Root>,
    ) -> Result<Option<Alarm>, Error> {
        let Some(next) = next else { return Ok(None) };
        // Branches of a room whose members are not known come to this or that member, and all that is judged anew.
        if self.partial.is_some() {
            return Ok(None);
        }
        // An event that follows all that is known changes what it says and nothing else.
        if (self.head.state, next) == states || self.head.extremities.is_empty() {
            return Ok(None);
        }
        let mut alarm = Alarm {
            room_id: pdu.room_id().to_owned(),
            event_id: pdu.event_id().to_owned(),
            count: 0,
            users: Vec::new(),
            powers: false,
        };
        for change in self.differences(self.head.state, next).await? {
            let Some(old) = change.old else { continue };
            let is_member = change.event_type == "m.room.member";
            if !is_member
                && (change.event_type != "m.room.power_levels" || !change.state_key.is_empty())
            {
                continue;
            }
            let Some(old) = self.event(&old).await? else {
                continue;
            };
            let new = match &change.new {
                Some(new) => self.event(new).await?,
                None => None,
            };
            let went_back = new.as_ref().is_none_or(|new| is_older(new, &old));
            if !went_back {
                continue;
            }
            if !is_member {
                alarm.powers = true;
            } else if is_join(&old) && !new.is_some_and(|new| is_join(&new)) {
                alarm.count += 1;
                if alarm.users.len() < MAX_NAMED {
                    alarm.users.push(change.state_key);
                }
            }
        }
        Ok((alarm.powers || alarm.count > 0).then_some(alarm))
    }

    /// Raises an alarm at the position of the event that it came with.
    pub(super) fn raise(&mut self, alarm: Option<Alarm>, position: Position) {
        let Some(alarm) = alarm else { return };
        metrics::counter!("hearth_states_went_back_total").increment(1);
        tracing::warn!(
            room = %alarm.room_id,
            event = %alarm.event_id,
            count = alarm.count,
            users = alarm.users.join(" "),
            powers = alarm.powers,
            "the state of a room went back: users are out of it, or powers are those of before, though no newer event says so"
        );
        self.batch.put(&ALARMS, position, Json(&alarm));
    }
}

/// Whether an event was before another one, both here and in the room.
fn is_older(event: &StoredEvent, other: &StoredEvent) -> bool {
    event.position < other.position && event.pdu.depth() <= other.pdu.depth()
}

fn is_join(event: &Arc<StoredEvent>) -> bool {
    membership_of(event.pdu.content().get()) == Membership::Join
}
