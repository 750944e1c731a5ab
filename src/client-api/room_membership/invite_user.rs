//! `POST /_matrix/client/v3/rooms/{roomId}/invite`

use hearth_rooms::{Act, MemberChange};
use hearth_users::Session;
use http::StatusCode;
use ruma::api::{
    client::membership::invite_user::v3::{InvitationRecipient, Request, Response},
    error::ErrorKind,
};

use crate::{App, error::Error, invitees};

pub(super) async fn invite_user(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let InvitationRecipient::UserId(invitee) = request.recipient else {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            ErrorKind::ThreepidDenied,
            "this server invites by user id only",
        ));
    };
    let change = MemberChange {
        reason: invitee.reason,
        profile: invitees::invitee(&app, &invitee.user_id).await?,
        ..MemberChange::of(
            request.room_id,
            session.user_id,
            invitee.user_id,
            Act::Invite,
        )
    };
    app.rooms.change_membership(change).await?;
    Ok(Response::new())
}
