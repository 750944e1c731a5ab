//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use ruma::api::client::membership::join_room_by_id_or_alias::v3::{Request, Response};

use super::joining::Joining;
use crate::{App, error::Error, faces, room_directory::resolve};

pub(super) async fn join_room_by_id_or_alias(
    app: App,
    session: Session,
    Joining { request, further }: Joining<Request>,
) -> Result<Response, Error> {
    let user = session.user_id.clone();
    let (room_id, known) = resolve(&app, &request.room_id_or_alias).await?;
    let change = MemberChange {
        reason: request.reason,
        profile: faces::face(&app, &session.user_id).await?,
        further,
        ..MemberChange::own(room_id.clone(), session.user_id, Act::Join)
    };
    let via = [request.via, known].concat();
    app.rooms.change_membership_through(change, &via).await?;
    crate::succession::carry_over(&app, &user, &room_id).await;
    Ok(Response::new(room_id))
}
