//! `GET /_matrix/client/v3/presence/{userId}/status`

use std::collections::HashSet;

use hearth_users::Session;
use ruma::{
    UserId,
    api::client::presence::get_presence::v3::{Request, Response},
};

use crate::{App, error::Error};

/// Told to those who share a room with the user.
pub(super) async fn get_presence(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if request.user_id != session.user_id
        && !share_a_room(&app, &session.user_id, &request.user_id).await?
    {
        return Err(Error::forbidden("you share no room with this user"));
    }
    let (presence, now) = (app.users.presence(&request.user_id), app.clock.now());
    let mut response = Response::new(presence.availability.as_str().into());
    response.last_active_ago = presence.last_active_ago(now);
    response.currently_active = Some(presence.is_active(now));
    response.status_msg = presence.message;
    Ok(response)
}

async fn share_a_room(app: &App, one: &UserId, other: &UserId) -> Result<bool, Error> {
    let view = app.store.view().await?;
    let rooms = app.rooms.joined_rooms(&view, one).await?;
    let rooms: HashSet<_> = rooms.into_iter().collect();
    let theirs = app.rooms.rooms_with(&view, other).await?;
    Ok(theirs.iter().any(|room| rooms.contains(room)))
}
