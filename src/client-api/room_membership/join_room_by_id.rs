//! `POST /_matrix/client/v3/rooms/{roomId}/join`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use ruma::api::client::membership::join_room_by_id::v3::{Request, Response};

use super::joining::Joining;
use crate::{App, error::Error, faces};

pub(super) async fn join_room_by_id(
    app: App,
    session: Session,
    Joining { request, further }: Joining<Request>,
) -> Result<Response, Error> {
    let user = session.user_id.clone();
    let room_id = request.room_id;
    crate::guests::check_join(&app, &session, &room_id).await?;
    let change = MemberChange {
        reason: request.reason,
        profile: faces::face(&app, &session.user_id).await?,
        further,
        ..MemberChange::own(room_id.clone(), session.user_id, Act::Join)
    };
    app.rooms.change_membership(change).await?;
    crate::succession::carry_over(&app, &user, &room_id).await;
    Ok(Response::new(room_id))
}
