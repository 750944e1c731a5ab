//! Owns the step from an account to how its user is shown in a room. Must never ask `rooms`: it is an argument to them.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#events-on-change-of-profile-information>

use hearth_rooms::Profile;
use ruma::UserId;

use crate::{App, error::Error};

/// The display name and avatar of `user`; empty for users of other servers and for those who have none.
pub(crate) async fn face(app: &App, user: &UserId) -> Result<Profile, Error> {
    let view = app.store.view().await?;
    let profile = app.users.profile(&view, user).await?;
    Ok(Profile {
        displayname: profile.displayname,
        avatar_url: profile.avatar_url,
    })
}
