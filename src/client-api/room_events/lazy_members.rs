//! Owns the members that are sent with a page of events when a client loads members lazily.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members>

use std::{collections::BTreeSet, sync::Arc};

use hearth_rooms::{Head, StoredEvent};
use hearth_store::View;
use hearth_users::Session;
use ruma::{RoomId, UserId, events::AnyStateEvent, serde::Raw};

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
        let member = match member {
            Some(member) => Some(member),
            None => named(app, view, (room, &head), sender, events).await?,
        };
        members.extend(member.map(|member| show::plain(app, session, &member)));
    }
    Ok(members)
}

/// The membership of a sender that one of these events names, where the members of the room are not known.
async fn named(
    app: &App,
    view: &View,
    (room, head): (&RoomId, &Head),
    sender: &UserId,
    events: &[Arc<StoredEvent>],
) -> Result<Option<Arc<StoredEvent>>, Error> {
    let sent = events.iter().find(|event| event.pdu.sender() == sender);
    let Some(sent) = sent else {
        return Ok(None);
    };
    if !app.rooms.is_partial(view, room, head).await? {
        return Ok(None);
    }
    match app.rooms.named_sender(view, &sent.pdu).await? {
        Some(id) => Ok(app.rooms.event(view, &id).await?),
        None => Ok(None),
    }
}
