//! `GET /_matrix/client/v3/keys/changes`

use std::collections::BTreeSet;

use hearth_rooms::Membership;
use hearth_store::{Direction, Position, View};
use hearth_users::Session;
use ruma::{
    OwnedUserId, RoomId, UserId,
    api::client::keys::get_key_changes::v3::{Request, Response},
};

use crate::{App, error::Error, tokens::position};

/// Whose keys a user has to ask for again, and whose no longer concern them.
#[derive(Default)]
struct Changes {
    changed: BTreeSet<OwnedUserId>,
    left: BTreeSet<OwnedUserId>,
}

/// What users published themselves, and what rooms recorded: whoever came into a shared room has changed, whoever shares
/// none any more has left.
pub(super) async fn get_key_changes(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    // The end is a hint: what is kept of a user is the last change, which may lie behind it.
    let from = position(&request.from)?;
    position(&request.to)?;
    let view = app.store.view().await?;
    let user = &session.user_id;
    let mut changes = Changes {
        changed: app.users.own_device_changes(&view, user, from).await?,
        left: BTreeSet::new(),
    };
    for (room, member) in app.rooms.rooms_of(&view, user).await? {
        let moved = member.position > from;
        match member.membership {
            Membership::Join if moved => changes.changed.extend(joined(&app, &view, &room).await?),
            Membership::Join => room_changes(&app, &view, &room, from, &mut changes).await?,
            Membership::Leave | Membership::Ban if moved => {
                changes.left.extend(joined(&app, &view, &room).await?);
            }
            _ => {}
        }
    }
    let shared = app.rooms.joined_rooms(&view, user).await?;
    let mut left = Vec::new();
    for other in changes.left {
        if other != *user && !shares(&app, &view, &other, &shared).await? {
            changes.changed.remove(&other);
            left.push(other);
        }
    }
    Ok(Response::new(changes.changed.into_iter().collect(), left))
}

/// What changed in a room in which the user was all the time.
async fn room_changes(
    app: &App,
    view: &View,
    room: &RoomId,
    from: Position,
    changes: &mut Changes,
) -> Result<(), Error> {
    let signals = app
        .rooms
        .signals_since(view, room, from, view.position())
        .await?;
    changes.changed.extend(signals.devices);
    let Some(head) = app.rooms.head(view, room).await? else {
        return Ok(());
    };
    if head.position <= from {
        return Ok(());
    }
    let back = Direction::Backward;
    let before = app
        .rooms
        .timeline(view, room, Position::ZERO, from, back, 1)
        .await?;
    let Some(before) = before.first() else {
        return Ok(());
    };
    let root = app.rooms.shown_after(view, before, from).await?;
    let diff = app.rooms.state_diff(view, &head, root, head.state).await?;
    for (kind, key, _) in diff {
        if kind != "m.room.member" {
            continue;
        }
        let Ok(member) = UserId::parse(&key) else {
            continue;
        };
        if app.rooms.is_joined(view, &member, room).await? {
            changes.changed.insert(member);
        } else {
            changes.left.insert(member);
        }
    }
    Ok(())
}

async fn joined(app: &App, view: &View, room: &RoomId) -> Result<Vec<OwnedUserId>, Error> {
    let mut joined = Vec::new();
    let mut after = None;
    loop {
        let page = app.rooms.members(view, room, after.as_deref()).await?;
        let Some((last, _)) = page.last() else {
            return Ok(joined);
        };
        after = Some(last.clone());
        let page = page
            .into_iter()
            .filter(|(_, member)| member.membership == Membership::Join);
        joined.extend(page.map(|(user, _)| user));
    }
}

async fn shares(
    app: &App,
    view: &View,
    other: &UserId,
    rooms: &[ruma::OwnedRoomId],
) -> Result<bool, Error> {
    for room in rooms {
        if app.rooms.is_joined(view, other, room).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
