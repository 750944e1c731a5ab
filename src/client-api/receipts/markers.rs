//! Owns the step from what a client says it has read to receipts (`rooms`) and the read marker (account data, `users`).
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#fully-read-markers>

use hearth_rooms::ReceiptThread;
use hearth_users::Session;
use ruma::{EventId, RoomId, events::receipt::ReceiptThread as Asked};
use serde_json::{json, value::to_raw_value};

use crate::{App, error::Error};

/// Who is told of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everybody in the room.
    Public,
    /// The user's own devices.
    Private,
}

/// Moves a receipt of the session's user.
pub(super) async fn receipt(
    app: &App,
    session: &Session,
    room: &RoomId,
    kind: Kind,
    event: &EventId,
    thread: Asked,
) -> Result<(), Error> {
    let thread = match thread {
        Asked::Unthreaded => ReceiptThread::Unthreaded,
        Asked::Main => ReceiptThread::Main,
        Asked::Thread(root) => ReceiptThread::Thread(root),
        _ => return Err(Error::invalid_param("no such thread")),
    };
    app.rooms
        .receipt(&session.user_id, room, event, kind == Kind::Private, thread)
        .await?;
    Ok(())
}

/// Sets the read marker of the session's user.
pub(super) async fn fully_read(
    app: &App,
    session: &Session,
    room: &RoomId,
    event: &EventId,
) -> Result<(), Error> {
    let view = app.store.view().await?;
    if !app.rooms.is_joined(&view, &session.user_id, room).await? {
        return Err(Error::forbidden("you are not in this room"));
    }
    let content =
        to_raw_value(&json!({ "event_id": event })).map_err(|error| Error::internal(&error))?;
    app.users
        .set_account_data(&session.user_id, Some(room), "m.fully_read", &content)
        .await?;
    Ok(())
}
