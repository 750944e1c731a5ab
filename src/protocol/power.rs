//! Owns the reading of power levels. Must never decide by itself what is allowed in a room: the auth rules do.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#mroompower_levels>

use std::collections::{BTreeMap, HashSet};

use ruma::{
    Int, OwnedUserId, UserId,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};

use crate::{errors::Malformed, pdu::Pdu, version::RoomVersion};

/// A power level, of a user or required for something. Ordered; the creators of room version 12 are above all numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A number, as written in `m.room.power_levels`.
    Finite(i64),
    /// Above every number.
    Infinite,
}

impl From<Int> for Level {
    fn from(level: Int) -> Self {
        Self::Finite(level.into())
    }
}

/// The power levels of a room in one state.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    /// Those whose power is infinite. Empty before room version 12.
    sovereigns: HashSet<OwnedUserId>,
    users: BTreeMap<OwnedUserId, Int>,
    events: BTreeMap<String, Int>,
    notify_room: Int,
    users_default: Int,
    events_default: Int,
    state_default: Int,
    ban: Int,
    redact: Int,
    kick: Int,
    invite: Int,
}

impl PowerLevels {
    /// Reads the levels from the room's create event and its `m.room.power_levels`, where there is one.
    ///
    /// # Errors
    /// `Malformed` when a level is not a number as the room version writes them, or the create event names no creator.
    pub fn of(version: RoomVersion, create: &Pdu, levels: Option<&Pdu>) -> Result<Self, Malformed> {
        let rules = &version.rules().authorization;
        let creators = RoomCreateEvent::new(create)
            .creators(rules)
            .map_err(Malformed::format)?;
        let event = levels.map(RoomPowerLevelsEvent::new);
        let field = |field: RoomPowerLevelsIntField| match &event {
            Some(event) => event
                .get_as_int_or_default(field, rules)
                .map_err(Malformed::format),
            None => Ok(field.default_value()),
        };
        let mut read = Self {
            sovereigns: HashSet::new(),
            users: BTreeMap::new(),
            events: BTreeMap::new(),
            notify_room: Int::from(50_i32),
            users_default: field(RoomPowerLevelsIntField::UsersDefault)?,
            events_default: field(RoomPowerLevelsIntField::EventsDefault)?,
            state_default: field(RoomPowerLevelsIntField::StateDefault)?,
            ban: field(RoomPowerLevelsIntField::Ban)?,
            redact: field(RoomPowerLevelsIntField::Redact)?,
            kick: field(RoomPowerLevelsIntField::Kick)?,
            invite: field(RoomPowerLevelsIntField::Invite)?,
        };
        if let Some(event) = &event {
            read.users = event
                .users(rules)
                .map_err(Malformed::format)?
                .cloned()
                .unwrap_or_default();
            let events = event
                .events(rules)
                .map_err(Malformed::format)?
                .unwrap_or_default();
            read.events = events
                .into_iter()
                .map(|(event_type, level)| (event_type.to_string(), level))
                .collect();
            let notifications = event
                .notifications(rules)
                .map_err(Malformed::format)?
                .unwrap_or_default();
            if let Some(level) = notifications.get("room") {
                read.notify_room = *level;
            }
        }
        if rules.explicitly_privilege_room_creators {
            read.sovereigns = creators;
        } else if event.is_none() {
            // Without the event, whoever made the room rules it.
            read.users = creators
                .into_iter()
                .map(|creator| (creator, Int::from(100_i32)))
                .collect();
        }
        Ok(read)
    }

    /// The level of a user.
    pub fn user(&self, user: &UserId) -> Level {
        if self.sovereigns.contains(user) {
            return Level::Infinite;
        }
        self.users
            .get(user)
            .copied()
            .unwrap_or(self.users_default)
            .into()
    }

    /// The level required to send a message event of this type.
    pub fn message(&self, event_type: &str) -> Level {
        self.events
            .get(event_type)
            .copied()
            .unwrap_or(self.events_default)
            .into()
    }

    /// The level required to send a state event of this type.
    pub fn state(&self, event_type: &str) -> Level {
        self.events
            .get(event_type)
            .copied()
            .unwrap_or(self.state_default)
            .into()
    }

    /// The level required to redact others' events.
    pub fn redact(&self) -> Level {
        self.redact.into()
    }

    /// The level required to remove a user of lower level.
    pub fn kick(&self) -> Level {
        self.kick.into()
    }

    /// The level required to ban a user of lower level.
    pub fn ban(&self) -> Level {
        self.ban.into()
    }

    /// The level required to invite.
    pub fn invite(&self) -> Level {
        self.invite.into()
    }

    /// The level required to notify the whole room (`notifications.room`).
    pub fn notify_room(&self) -> Level {
        self.notify_room.into()
    }

    /// The level of users who are not listed.
    pub fn users_default(&self) -> Level {
        self.users_default.into()
    }

    /// The users with a level of their own and those whose power is infinite, in no order.
    pub fn listed_users(&self) -> impl Iterator<Item = (&UserId, Level)> {
        let listed = self
            .users
            .iter()
            .map(|(user, level)| (&**user, Level::from(*level)));
        listed.chain(
            self.sovereigns
                .iter()
                .map(|user| (&**user, Level::Infinite)),
        )
    }
}

#[cfg(test)]
mod tests;
