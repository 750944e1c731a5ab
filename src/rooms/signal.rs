//! Owns what happens in a room without being an event: receipts and changes of members' devices, in one log per room, so
//! that `/sync` finds them by looking once. Must never hold more than the last of each receipt, and the last change of each
//! member's devices: whoever asks since an earlier moment finds that one, so the log needs no other trimming.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receipts>

use hearth_store::{
    Batch, Direction, Family, Part, Position, ReadPart, Reader, Table, Topic, View, Writer,
};
use std::collections::BTreeSet;

use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};

use crate::{
    Error, Receipt, Rooms,
    membership::{parse_room, parse_user},
    outgoing::outgoing,
    receipt::RECEIPTS,
    servers::REMOTE_JOINED,
};

/// How many servers of a room, and rooms of a user, are looked at.
const MAX_SERVERS: usize = 10_000;
const MAX_ROOMS: usize = 10_000;

/// After every user.
const LAST: &str = "\u{10FFFF}";

/// (room, position) to what happened.
pub(crate) const SIGNALS: Table<(String, Position), Signal> =
    Table::new(101, "room_signals", Family::Index);

/// Room to the position of its newest signal.
pub(crate) const SIGNALLED: Table<String, Position> =
    Table::new(102, "room_signalled", Family::Records);

/// (room, user) to the position of the newest signal of the user's devices.
pub(crate) const DEVICE_SIGNALLED: Table<(String, String), Position> =
    Table::new(111, "room_device_signalled", Family::Index);

/// User to the position of the newest change of their devices that other servers are to hear of.
pub(crate) const DEVICES_OUTGOING: Table<String, Position> =
    Table::new(139, "devices_outgoing", Family::Records);

/// User to the position at which they last came into a room of other servers, which may not know their devices.
pub(crate) const DEVICES_UNSEEN: Table<String, Position> =
    Table::new(143, "devices_unseen", Family::Records);

/// User to the position at which servers turned out to be in a room of theirs, which may not know their keys.
pub(crate) const DEVICES_UNTOLD: Table<String, Position> =
    Table::new(150, "devices_untold", Family::Records);

/// Something that happened in a room and is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A receipt of this user moved; the text tells which ([`crate::receipt::receipt_key`]).
    Receipt(String, String),
    /// The devices of this user, a member, changed.
    Devices(String),
}

impl Part for Signal {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Receipt(user, key) => (0_u8, user, key).write(w),
            Self::Devices(user) => (1_u8, user).write(w),
        }
    }
}

impl ReadPart for Signal {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        match u8::read(r)? {
            0 => Ok(Self::Receipt(String::read(r)?, String::read(r)?)),
            1 => Ok(Self::Devices(String::read(r)?)),
            other => Err(hearth_store::Error::Corrupt(format!(
                "a signal of kind {other}"
            ))),
        }
    }
}

/// A user of whose devices other servers are to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicesToTell {
    /// Who.
    pub user: OwnedUserId,
    /// Where in the log that was noted.
    pub position: Position,
    /// Why.
    pub reason: WhyTell,
}

/// Why other servers are to hear of a user's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyTell {
    /// Something changed.
    Changed,
    /// The user came into a room whose servers may not know the devices.
    CameIn,
    /// Servers turned out to be in a room of the user, who may not know the keys. Of one without keys there is nothing to tell:
    /// who wants the devices asks.
    FoundThere,
}

impl WhyTell {
    const ALL: [Self; 3] = [Self::Changed, Self::CameIn, Self::FoundThere];

    fn table(self) -> &'static Table<String, Position> {
        match self {
            Self::Changed => &DEVICES_OUTGOING,
            Self::CameIn => &DEVICES_UNSEEN,
            Self::FoundThere => &DEVICES_UNTOLD,
        }
    }
}

/// What a stretch of a room's signal log holds.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The receipts that moved, private ones of all users included: the reader sees only their own of those.
    pub receipts: Vec<Receipt>,
    /// The members whose devices changed.
    pub devices: Vec<OwnedUserId>,
}

/// Tells the members of these rooms that the devices of `user` changed, as part of `batch`, in place of what they were told
/// before. The commit conflicts with another that tells the same, upon which the caller plans again.
///
/// # Errors
/// Those of the store.
pub async fn signal_device_change(
    view: &View,
    batch: &mut Batch,
    rooms: &[OwnedRoomId],
    user: &UserId,
) -> Result<(), Error> {
    let keys: Vec<_> = rooms
        .iter()
        .map(|id| (id.as_str(), user.as_str()))
        .collect();
    let told = view.get_many(&DEVICE_SIGNALLED, &keys).await?;
    let batch_stamp = batch.position();
    for ((room_id, user), told) in keys.into_iter().zip(told) {
        let position = batch.position();
        batch.assert_unchanged(&DEVICE_SIGNALLED, (room_id, user), told);
        if let Some(told) = told {
            batch.delete(&SIGNALS, (room_id, told));
        }
        batch.put(&DEVICE_SIGNALLED, (room_id, user), position);
        batch.put(
            &SIGNALS,
            (room_id, position),
            Signal::Devices(user.to_owned()),
        );
        batch.put(&SIGNALLED, room_id, position);
        batch.wake(Topic::new('r', room_id));
    }
    if !rooms.is_empty() {
        batch.put(&DEVICES_OUTGOING, user.as_str(), batch_stamp);
        batch.wake(outgoing());
    }
    Ok(())
}

impl Rooms {
    /// The users of whose devices other servers are to hear, `limit` at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn devices_to_tell(
        &self,
        view: &View,
        limit: usize,
    ) -> Result<Vec<DevicesToTell>, Error> {
        let mut told = Vec::new();
        for reason in WhyTell::ALL {
            let found = view
                .scan(reason.table(), ""..LAST, Direction::Forward, limit)
                .await?;
            for (user, position) in found {
                told.push(DevicesToTell {
                    user: parse_user(user)?,
                    position,
                    reason,
                });
            }
        }
        Ok(told)
    }

    /// Takes a user from [`Rooms::devices_to_tell`], as part of `batch`, which conflicts if there was another change.
    pub fn plan_devices_told(batch: &mut Batch, told: &DevicesToTell) {
        let table = told.reason.table();
        batch.assert_equals(table, told.user.as_str(), told.position);
        batch.delete(table, told.user.as_str());
    }

    /// The servers that share a room with the user, this one excepted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn servers_sharing(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<BTreeSet<OwnedServerName>, Error> {
        let mut servers = BTreeSet::new();
        for room_id in self.joined_rooms(view, user).await? {
            servers.extend(self.servers(view, &room_id, MAX_SERVERS).await?);
        }
        servers.remove(self.server_name());
        Ok(servers)
    }

    /// The rooms in which users of this server are joined beside a user of another.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rooms_shared_with(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let found: Vec<(String, ())> = view
            .scan_prefix(
                &REMOTE_JOINED,
                (user.as_str(),),
                Direction::Forward,
                MAX_ROOMS,
            )
            .await?
            .into_iter()
            .map(|((_, room), ()): ((String, String), ())| (room, ()))
            .collect();
        found
            .into_iter()
            .map(|(room, ())| parse_room(room))
            .collect()
    }

    /// The rooms in which a user of any server is joined, as far as users of this server are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rooms_with(&self, view: &View, user: &UserId) -> Result<Vec<OwnedRoomId>, Error> {
        match self.is_local(user) {
            true => self.joined_rooms(view, user).await,
            false => self.rooms_shared_with(view, user).await,
        }
    }

    /// The positions of the newest signal of each room, in the order asked for; nothing for a room without one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn signalled(
        &self,
        view: &View,
        rooms: impl IntoIterator<Item = &RoomId>,
    ) -> Result<Vec<Option<Position>>, Error> {
        let keys: Vec<_> = rooms.into_iter().map(RoomId::as_str).collect();
        Ok(view.get_many(&SIGNALLED, keys).await?)
    }

    /// What was signalled in the room with `after < position <= upto`; the newest ten thousand at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn signals_since(
        &self,
        view: &View,
        room_id: &RoomId,
        after: Position,
        upto: Position,
    ) -> Result<Signals, Error> {
        let mut signals = Signals::default();
        if after >= upto {
            return Ok(signals);
        }
        let range = (room_id.as_str(), after.next())..(room_id.as_str(), upto.next());
        let found = view
            .scan(
                &SIGNALS,
                range,
                Direction::Backward,
                hearth_store::SCAN_LIMIT,
            )
            .await?;
        let mut keys = Vec::new();
        for (_, signal) in found {
            match signal {
                Signal::Receipt(user, key) => keys.push((room_id.as_str(), user, key)),
                Signal::Devices(user) => signals.devices.push(parse_user(user)?),
            }
        }
        signals.devices.sort_unstable();
        signals.devices.dedup();
        let records = view.get_many(&RECEIPTS, keys.iter()).await?;
        for ((_, user, key), record) in keys.iter().zip(records) {
            if let Some(record) = record {
                signals.receipts.push(Receipt::read_as(user, key, record)?);
            }
        }
        Ok(signals)
    }
}
