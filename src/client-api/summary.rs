//! Owns the step from what `rooms` tells of a room to the form of clients. Must never ask whether somebody may know it:
//! the caller does.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-summaries>

use hearth_store::View;
use ruma::{RoomId, room::RoomSummary};

use crate::{App, error::Error};

/// The summary of `room` as it stands in `view`; `None` if this server does not know the room.
pub(crate) async fn summary(
    app: &App,
    view: &View,
    room: &RoomId,
) -> Result<Option<RoomSummary>, Error> {
    let told = app.rooms.summary(view, room).await?;
    Ok(told.map(hearth_rooms::RoomSummary::shown))
}
