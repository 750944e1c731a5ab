//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use ruma::api::client::knock::knock_room::v3::{Request, Response};

use crate::{App, error::Error, faces, room_directory::resolve};

pub(super) async fn knock_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (room_id, known) = resolve(&app, &request.room_id_or_alias).await?;
    let change = MemberChange {
        reason: request.reason,
        profile: faces::face(&app, &session.user_id).await?,
        ..MemberChange::own(room_id.clone(), session.user_id, Act::Knock)
    };
    let via = [request.via, known].concat();
    app.rooms.change_membership_through(change, &via).await?;
    Ok(Response::new(room_id))
}
