//! Owns the form in which a user sees events: the client form, with what this server adds for this user and this device.
//! Must never show an event that its caller has not found visible.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-event-format>

use std::sync::Arc;

use hearth_protocol::{Unsigned, client_json};
use hearth_rooms::StoredEvent;
use hearth_store::View;
use hearth_users::Session;
use ruma::serde::Raw;

use crate::{App, error::Error};

/// `event` with what others said about it: edits, threads, references.
///
/// # Errors
/// Those of the store.
pub(crate) async fn event<T>(
    app: &App,
    view: &View,
    session: &Session,
    event: &StoredEvent,
) -> Result<Raw<T>, Error> {
    let relations = app.rooms.bundled(view, &session.user_id, event).await?;
    let unsigned = Unsigned {
        relations: relations.as_deref(),
        ..own(app, session, event)
    };
    Ok(Raw::from_json(client_json(
        &event.pdu,
        true,
        Some(unsigned),
    )))
}

/// As [`event()`], for each of `events`.
///
/// # Errors
/// As [`event()`].
pub(crate) async fn timeline<T>(
    app: &App,
    view: &View,
    session: &Session,
    events: &[Arc<StoredEvent>],
) -> Result<Vec<Raw<T>>, Error> {
    let mut shown = Vec::with_capacity(events.len());
    for each in events {
        shown.push(event(app, view, session, each).await?);
    }
    Ok(shown)
}

/// `event` alone, as state is shown.
pub(crate) fn plain<T>(app: &App, session: &Session, event: &StoredEvent) -> Raw<T> {
    let unsigned = own(app, session, event);
    Raw::from_json(client_json(&event.pdu, true, Some(unsigned)))
}

/// What this server knows of the event without reading anything: its age, and the transaction id for the device that
/// sent it, and for no other.
fn own<'a>(app: &App, session: &Session, event: &'a StoredEvent) -> Unsigned<'a> {
    let now = app.clock.now().0;
    let then = u64::from(event.pdu.origin_server_ts().get());
    let transaction = event.transaction.as_ref().filter(|transaction| {
        transaction.user == session.user_id && transaction.device == session.device_id
    });
    Unsigned {
        age: i64::try_from(now.saturating_sub(then)).ok(),
        transaction_id: transaction.map(|transaction| transaction.id.as_str()),
        ..Unsigned::default()
    }
}
