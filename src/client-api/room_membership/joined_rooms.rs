//! `GET /_matrix/client/v3/joined_rooms`

use hearth_rooms::Membership;
use hearth_users::Session;
use ruma::api::client::membership::joined_rooms::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn joined_rooms(
    app: App,
    session: Session,
    _: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let rooms = app.rooms.rooms_of(&view, &session.user_id).await?;
    let joined = rooms
        .into_iter()
        .filter(|(_, member)| member.membership == Membership::Join)
        .map(|(room, _)| room)
        .collect();
    Ok(Response::new(joined))
}
