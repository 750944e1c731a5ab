//! `GET /_matrix/federation/v1/make_leave/{roomId}/{userId}`

use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::prepare_leave_event::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn prepare_leave_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let (room_id, user_id) = (request.room_id, request.user_id);
    let draft = federation
        .rooms
        .draft_for(&origin, &room_id, &user_id, Membership::Leave, None)
        .await?;
    Ok(Response::new(Some(draft.version.id().clone()), draft.event))
}
