//! Owns what clients keep for themselves: for the account and for rooms. Must never show anybody else's.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#client-config>

use std::collections::BTreeMap;

use hearth_store::Position;
use hearth_users::AccountDatum;
use ruma::{OwnedRoomId, RoomId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, filter, window::Reading};

/// What was set since the last answer.
#[derive(Debug, Default)]
pub(crate) struct AccountData {
    pub(crate) global: Vec<Box<RawValue>>,
    rooms: BTreeMap<OwnedRoomId, Vec<Box<RawValue>>>,
}

impl AccountData {
    /// Whether there is some of a room.
    pub(crate) fn tells_of(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// That of a room.
    pub(crate) fn take(&mut self, room: &RoomId) -> Vec<Box<RawValue>> {
        self.rooms.remove(room).unwrap_or_default()
    }
}

/// What was set since the last answer and passes the filters.
pub(crate) async fn read(reading: &Reading<'_>) -> Result<AccountData, Error> {
    let mut read = AccountData::default();
    if reading.since() == Some(reading.upto()) {
        // Also at the very beginning of the log, where what was never set would come again and again.
        return Ok(read);
    }
    let filter = &reading.request.filter;
    for datum in since(reading, reading.after()).await? {
        match &datum.room {
            None if filter::passes(&filter.account_data, &datum.kind, None) => {
                read.global.push(event(&datum));
            }
            Some(room) if is_wanted(reading, room, &datum.kind) => {
                read.rooms
                    .entry(room.clone())
                    .or_default()
                    .push(event(&datum));
            }
            _ => {}
        }
    }
    Ok(read)
}

/// All of a room that is new to the device.
pub(crate) async fn of_room(
    reading: &Reading<'_>,
    room: &RoomId,
) -> Result<Vec<Box<RawValue>>, Error> {
    let all = since(reading, Position::ZERO).await?;
    let of_room = |datum: &&AccountDatum| {
        datum.room.as_deref() == Some(room) && is_wanted(reading, room, &datum.kind)
    };
    Ok(all.iter().filter(of_room).map(event).collect())
}

async fn since(reading: &Reading<'_>, after: Position) -> Result<Vec<AccountDatum>, Error> {
    let (view, user) = (reading.view, reading.user());
    Ok(reading
        .users()
        .account_data_since(view, user, after, reading.upto())
        .await?)
}

fn is_wanted(reading: &Reading<'_>, room: &RoomId, kind: &str) -> bool {
    let wanted = &reading.request.filter.room.account_data;
    filter::passes_section(wanted, room) && filter::passes_type(wanted, kind)
}

fn event(datum: &AccountDatum) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        content: &'a RawValue,
    }
    let event = Event {
        kind: &datum.kind,
        content: &datum.content,
    };
    // A string and raw JSON always serialise.
    to_raw_value(&event).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
