//! Owns whether somebody may be invited at all, as they decide themselves, and how they are shown. Must never look at rooms.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#invite-permission>

use hearth_rooms::{Membership, Profile, membership_of};
use http::StatusCode;
use ruma::{UserId, api::error::ErrorKind};
use serde_json::value::RawValue;

use crate::{App, error::Error, faces};

/// How a user of this server who can be invited is shown; empty for users of others, whose own server decides.
///
/// # Errors
/// 403 `M_INVITE_BLOCKED`.
pub(crate) async fn invitee(app: &App, user: &UserId) -> Result<Profile, Error> {
    let view = app.store.view().await?;
    if app.users.blocks_invites(&view, user).await? {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            ErrorKind::InviteBlocked,
            "this user does not want to be invited",
        ));
    }
    faces::face(app, user).await
}

/// As [`invitee`], for a state event, which may be an invite.
///
/// # Errors
/// As [`invitee`].
pub(crate) async fn admit(
    app: &App,
    event_type: &str,
    state_key: &str,
    content: &RawValue,
) -> Result<(), Error> {
    if event_type != "m.room.member" || membership_of(content.get()) != Membership::Invite {
        return Ok(());
    }
    match <&UserId>::try_from(state_key) {
        Ok(user) => invitee(app, user).await.map(|_| ()),
        // No member event: refused by `rooms`.
        Err(_) => Ok(()),
    }
}
