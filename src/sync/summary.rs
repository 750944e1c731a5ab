//! Owns what a client needs to name a room and to say how many are there. Must never be told when it has not changed.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use serde::Deserialize;

use crate::{
    Error, Summary,
    window::{Reading, RoomWindow},
};

/// The changes of state that may change a summary.
const NAMING: [&str; 3] = ["m.room.member", "m.room.name", "m.room.canonical_alias"];

/// The summary of a room; empty when it is as it was.
pub(crate) async fn read(reading: &Reading<'_>, room: &RoomWindow<'_>) -> Result<Summary, Error> {
    let changed = room
        .changes
        .iter()
        .any(|(event_type, ..)| NAMING.contains(&event_type.as_str()));
    if !changed && !room.is_whole(reading) {
        return Ok(Summary::default());
    }
    let heroes = match is_named(reading, room).await? {
        true => None,
        false => {
            let (rooms, view) = (reading.rooms(), reading.view);
            Some(rooms.heroes(view, room.id, reading.user()).await?)
        }
    };
    Ok(Summary {
        heroes,
        joined: Some(room.head.joined),
        invited: Some(room.head.invited),
    })
}

/// Whether the room has a name or an alias of its own.
async fn is_named(reading: &Reading<'_>, room: &RoomWindow<'_>) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    for event_type in ["m.room.name", "m.room.canonical_alias"] {
        let event = reading
            .rooms()
            .state_event(reading.view, room.head, room.end, event_type, "")
            .await?;
        let content =
            event.and_then(|event| serde_json::from_str::<Content>(event.pdu.content().get()).ok());
        if content
            .and_then(|content| content.name.or(content.alias))
            .is_some_and(|text| !text.is_empty())
        {
            return Ok(true);
        }
    }
    Ok(false)
}
