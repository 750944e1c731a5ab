//! Owns the rooms in which the server tells its users something: one for each user, made when there is something to tell.
//! Must never speak in a room that another than the server's own user made.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-notices>

use hearth_rooms::{Act, MemberChange, Membership, NewRoom, Preset, Profile};
use hearth_users::NewAccount;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{json, value::to_raw_value};

use crate::{App, error::Error, faces};

/// The tag by which clients know such a room.
const TAG: &str = "m.server_notice";

/// The user in whose name notices are sent, made if need be. Nobody logs in as them.
pub(super) async fn sender(app: &App) -> Result<OwnedUserId, Error> {
    let notices = &app.settings.notices;
    let user = app.users.local_user(&notices.user)?;
    let view = app.store.view().await?;
    match app.users.account(&view, &user).await? {
        Some(account) if account.has_password() || account.deactivated => Err(Error::forbidden(
            "the user for notices is somebody's: let `notices.user` name another",
        )),
        Some(_) => Ok(user),
        None => {
            let account = NewAccount {
                displayname: Some(notices.name.clone()),
                ..NewAccount::new(user.clone(), None)
            };
            // Another request may have been faster.
            match app.users.register(account, None).await {
                Ok(_) => Ok(user),
                Err(error) => match app.users.account(&app.store.view().await?, &user).await? {
                    Some(account) if !account.has_password() => Ok(user),
                    _ => Err(error.into()),
                },
            }
        }
    }
}

/// The room in which `user` gets notices, made if need be. They are in it or invited to it.
pub(super) async fn room(app: &App, sender: &UserId, user: &UserId) -> Result<OwnedRoomId, Error> {
    let view = app.store.view().await?;
    let room = match app.users.notice_room(&view, user).await? {
        Some(room) => room,
        None => make(app, sender, user).await?,
    };
    let view = app.store.view().await?;
    let member = app.rooms.membership(&view, user, &room).await?;
    let is_there = member
        .is_some_and(|member| matches!(member.membership, Membership::Join | Membership::Invite));
    if !is_there {
        invite(app, sender, user, &room).await?;
    }
    Ok(room)
}

async fn make(app: &App, sender: &UserId, user: &UserId) -> Result<OwnedRoomId, Error> {
    let name = &app.settings.notices.name;
    // Whoever is told something is not asked.
    let levels = to_raw_value(&json!({ "users_default": -10 }));
    let levels = levels.map_err(|error| Error::internal(&error))?;
    let room = NewRoom {
        profile: Profile {
            displayname: Some(name.clone()),
            avatar_url: None,
        },
        version: Some(app.settings.default_room_version),
        preset: Some(Preset::PrivateChat),
        name: Some(name.clone()),
        power_levels: Some(levels),
        ..NewRoom::by(sender.to_owned())
    };
    let room = app.rooms.create(room).await?;
    if app.users.set_notice_room(user, &room).await? {
        app.users.set_tag(user, &room, TAG, &json!({})).await?;
        return Ok(room);
    }
    // Another request was faster: this room is for nobody.
    let leave = MemberChange::own(room, sender.to_owned(), Act::Leave);
    app.rooms.change_membership(leave).await?;
    let view = app.store.view().await?;
    let first = app.users.notice_room(&view, user).await?;
    first.ok_or_else(|| Error::unavailable(&"the room for notices is gone"))
}

async fn invite(app: &App, sender: &UserId, user: &UserId, room: &RoomId) -> Result<(), Error> {
    let invite = MemberChange {
        profile: faces::face(app, user).await?,
        ..MemberChange::of(
            room.to_owned(),
            sender.to_owned(),
            user.to_owned(),
            Act::Invite,
        )
    };
    app.rooms.change_membership(invite).await?;
    Ok(())
}

/// Refuses to let `user` reject the invite to the room in which they get notices.
pub(crate) async fn check_leave(app: &App, user: &UserId, room: &RoomId) -> Result<(), Error> {
    let view = app.store.view().await?;
    if app.users.notice_room(&view, user).await?.as_deref() != Some(room) {
        return Ok(());
    }
    let member = app.rooms.membership(&view, user, room).await?;
    match member {
        Some(member) if member.membership == Membership::Invite => Err(Error::new(
            http::StatusCode::FORBIDDEN,
            ruma::api::error::ErrorKind::CannotLeaveServerNoticeRoom,
            "this invite cannot be rejected: it is where the server tells you something",
        )),
        _ => Ok(()),
    }
}
