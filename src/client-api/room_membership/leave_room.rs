//! `POST /_matrix/client/v3/rooms/{roomId}/leave`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use ruma::api::client::membership::leave_room::v3::{Request, Response};

use crate::{App, administration::notices, error::Error};

pub(super) async fn leave_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    notices::check_leave(&app, &session.user_id, &request.room_id).await?;
    let change = MemberChange {
        reason: request.reason,
        ..MemberChange::own(request.room_id, session.user_id, Act::Leave)
    };
    app.rooms.change_membership(change).await?;
    Ok(Response::new())
}
