//! `POST /_matrix/client/v3/rooms/{roomId}/unban`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use ruma::api::client::membership::unban_user::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn unban_user(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let change = MemberChange {
        reason: request.reason,
        ..MemberChange::of(
            request.room_id,
            session.user_id,
            request.user_id,
            Act::Unban,
        )
    };
    app.rooms.change_membership(change).await?;
    Ok(Response::new())
}
