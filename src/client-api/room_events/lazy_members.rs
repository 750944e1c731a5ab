//! Owns the members that are sent with a page of events when a client loads members lazily.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members>

use std::{collections::BTreeSet, sync::Arc};

use hearth_rooms::StoredEvent;
use hearth_store::View;
use hearth_users::Session;
use ruma::{RoomId, events::AnyStateEvent, serde::Raw};

use crate::{App, error::Error, show};

/// The member events of all who sent `events`, as they were at the last of them. A client is told again of members that
/// it knows: leaving them out is allowed, not asked for.
pub(super) async fn members_of(
    app: &App,
    view: &View,
    session: &Session,
    room: &RoomId,
    events: &[Arc<StoredEvent>],
) -> Result<Vec<Raw<AnyStateEvent>>, Error> {
    let Some(newest) = events.iter().max_by_key(|event| event.position) else {
        return Ok(Vec::new());
    };
    let senders: BTreeSet<_> = events.iter().map(|event| event.pdu.sender()).collect();
    let Some(head) = app.rooms.head(view, room).await? else {
        return Ok(Vec::new());
    };
    let mut members = Vec::with_capacity(senders.len());
    for sender in senders {
        let member = app
            .rooms
            .state_event(
                view,
                &head,
                newest.state_after,
                "m.room.member",
                sender.as_str(),
            )
            .await?;
        if let Some(member) = member {
            members.push(show::plain(app, session, &member));
        }
    }
    Ok(members)
}
