//! Owns the form in which a user sees events: the client form, with what this server adds for this user and this device.
//! Must never show an event that its caller has not found visible.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-event-format>

use std::sync::Arc;

use hearth_protocol::{Unsigned, client_json};
use hearth_rooms::{Head, Member, Membership, Root, StoredEvent};
use hearth_store::View;
use hearth_users::Session;
use ruma::{OwnedRoomId, UserId, serde::Raw};

use crate::{App, error::Error};

/// `event` with what others said about it (edits, threads, references), what it replaced, and what the user was then.
///
/// # Errors
/// Those of the store.
pub(crate) async fn event<T>(
    app: &App,
    view: &View,
    session: &Session,
    event: &StoredEvent,
) -> Result<Raw<T>, Error> {
    let mut reader = Reader::default();
    reader.show(app, view, session, event).await
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
    let mut reader = Reader::default();
    let mut shown = Vec::with_capacity(events.len());
    for each in events {
        shown.push(reader.show(app, view, session, each).await?);
    }
    Ok(shown)
}

/// What is the same for many events of a room.
#[derive(Default)]
struct Reader {
    room: Option<Room>,
    /// The membership in the state that was looked at last: between two changes of state it is the same for all.
    then: Option<(Root, Membership)>,
}

/// A room, and what the user is to it now.
struct Room {
    id: OwnedRoomId,
    head: Head,
    member: Option<Member>,
}

impl Reader {
    async fn show<T>(
        &mut self,
        app: &App,
        view: &View,
        session: &Session,
        event: &StoredEvent,
    ) -> Result<Raw<T>, Error> {
        let user = &*session.user_id;
        let membership = self.membership(app, view, user, event).await?;
        let (relations, replaced) = match &self.room {
            Some(Room { head, .. }) => (
                app.rooms.bundled(view, user, head, event).await?,
                app.rooms.replaced(view, head, event).await?,
            ),
            None => (None, None),
        };
        let replaced = replaced.as_ref().map(|replaced| &replaced.pdu);
        let unsigned = Unsigned {
            relations: relations.as_deref(),
            membership: membership.map(Membership::as_str),
            prev_content: replaced.map(|pdu| pdu.content()),
            prev_sender: replaced.map(|pdu| pdu.sender()),
            replaces_state: replaced.map(|pdu| pdu.event_id()),
            ..own(app, session, event)
        };
        let shown = client_json(&event.pdu, true, Some(unsigned));
        Ok(Raw::from_json(shown))
    }

    /// What the user was when the event was sent, by the event itself if it says so. `None` if the room is not known.
    async fn membership(
        &mut self,
        app: &App,
        view: &View,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Option<Membership>, Error> {
        let id = event.pdu.room_id();
        if self.room.as_ref().is_none_or(|room| room.id != id) {
            (self.room, self.then) = (None, None);
            let Some(head) = app.rooms.head(view, id).await? else {
                return Ok(None);
            };
            self.room = Some(Room {
                id: id.to_owned(),
                head,
                member: app.rooms.membership(view, user, id).await?,
            });
        }
        let Some(room) = &self.room else {
            return Ok(None);
        };
        match (&room.member, self.then) {
            (Some(member), _) if event.position >= member.position => {
                return Ok(Some(member.membership));
            }
            (_, Some((root, membership))) if root == event.state_after => {
                return Ok(Some(membership));
            }
            _ => {}
        }
        let root = event.state_after;
        let membership = app
            .rooms
            .membership_at(view, &room.head, root, user)
            .await?;
        self.then = Some((root, membership));
        Ok(Some(membership))
    }
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
