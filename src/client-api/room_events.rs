//! What is said in a room: sending it and reading it.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#sending-events-to-a-room> and
//! <https://spec.matrix.org/latest/client-server-api/#getting-events-for-a-room>

use hearth_rooms::Transaction;
use hearth_store::View;
use hearth_users::Session;
use ruma::{OwnedTransactionId, RoomId};

use crate::{App, error::Error, routes::Routes};

mod get_context;
mod get_current_state;
mod get_event_by_timestamp;
mod get_member_events;
mod get_message_events;
mod get_room_event;
mod get_state_event_for_key;
mod get_state_events;
mod joined_members;
mod lazy_members;
mod listen_to_new_events;
mod redact_event;
mod send_message_event;
mod send_state_event;

/// Where the state event with an empty key is found when the key is left out of the path.
const WITHOUT_KEY: [&str; 4] = [
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
];

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_context::get_context)
        .user(get_current_state::get_current_state)
        .user(get_event_by_timestamp::get_event_by_timestamp)
        .user(get_member_events::get_member_events)
        .user(get_message_events::get_message_events)
        .user(get_room_event::get_room_event)
        .user_also(
            &WITHOUT_KEY,
            get_state_event_for_key::get_state_event_for_key,
        )
        .user(get_state_events::get_state_events)
        .user(joined_members::joined_members)
        .user(listen_to_new_events::listen_to_new_events)
        .user(redact_event::redact_event)
        .user(send_message_event::send_message_event)
        .user_also(&WITHOUT_KEY, send_state_event::send_state_event)
}

/// A view in which the members of the room are known, for a user who is in it. Others see what was known when they left.
async fn with_members(app: &App, session: &Session, room: &RoomId) -> Result<View, Error> {
    let view = app.store.view().await?;
    if !app.rooms.is_joined(&view, &session.user_id, room).await? {
        return Ok(view);
    }
    drop(view);
    app.rooms.await_members(room).await?;
    Ok(app.store.view().await?)
}

/// The transaction of a device, by which a repeated request is known.
fn transaction(session: &Session, id: OwnedTransactionId) -> Transaction {
    Transaction {
        user: session.user_id.clone(),
        device: session.device_id.clone(),
        id: id.to_string(),
    }
}
