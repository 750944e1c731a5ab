//! What users show of themselves.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#profiles>

use futures_util::{StreamExt, stream};
use hearth_rooms::Rooms;
use hearth_users::{Profile, Session};
use ruma::UserId;
use serde_json::Value;

use crate::{App, error::Error, faces, routes::Routes};

mod delete_profile_field;
mod get_profile;
mod get_profile_field;
mod set_profile_field;

/// Rooms that are told of a new name at the same time.
const ROOMS_AT_A_TIME: usize = 8;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(delete_profile_field::delete_profile_field)
        .open(get_profile::get_profile)
        .open(get_profile_field::get_profile_field)
        .user(set_profile_field::set_profile_field)
}

/// The profile of a user who exists, of this server or another.
async fn existing(app: &App, user: &UserId) -> Result<Profile, Error> {
    if user.server_name() != app.settings.server_name
        && let Ok(remote) = app.rooms.remote()
    {
        let asked = remote.profile(user).await;
        let fields = asked.map_err(hearth_rooms::Error::from)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        return Ok(Profile {
            displayname: text("displayname"),
            avatar_url: text("avatar_url"),
            fields,
        });
    }
    let view = app.store.view().await?;
    let account = app.users.account(&view, user).await?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(Error::not_found("there is no such user here"));
    }
    Ok(app.users.profile(&view, user).await?)
}

/// Sets a field of one's own, or removes it, and shows a new name or avatar in all rooms.
async fn change(
    app: &App,
    session: &Session,
    user: &UserId,
    field: &str,
    value: Option<Value>,
) -> Result<(), Error> {
    if user != session.user_id {
        return Err(Error::forbidden("this is another user's profile"));
    }
    set(app, user, field, value).await
}

/// Sets a field of a user's profile, or removes it, and shows a new name or avatar in all rooms.
///
/// # Errors
/// Those of a bad value.
pub(crate) async fn set(
    app: &App,
    user: &UserId,
    field: &str,
    value: Option<Value>,
) -> Result<(), Error> {
    let changed = app.users.set_profile_field(user, field, value).await?;
    if changed && matches!(field, "displayname" | "avatar_url") {
        show(app, user).await?;
    }
    Ok(())
}

/// A room that refuses keeps the old name; the profile is changed all the same.
async fn show(app: &App, user: &UserId) -> Result<(), Error> {
    let face = faces::face(app, user).await?;
    let view = app.store.view().await?;
    let rooms = app.rooms.joined_rooms(&view, user).await?;
    let told = rooms.into_iter().map(|room| {
        let (rooms, face): (&Rooms, _) = (&app.rooms, face.clone());
        async move {
            let shown = rooms.update_profile(room.clone(), user.to_owned(), face);
            if let Err(error) = shown.await {
                tracing::debug!(%error, %room, "a room did not take a new profile");
            }
        }
    });
    stream::iter(told)
        .buffer_unordered(ROOMS_AT_A_TIME)
        .collect::<()>()
        .await;
    Ok(())
}
