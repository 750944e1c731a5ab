//! `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`

use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::prepare_join_event::v1::{Request, Response},
};

use super::known;
use crate::{Error, Federation};

pub(super) async fn prepare_join_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let Request {
        room_id,
        user_id,
        ver,
        ..
    } = request;
    let draft = federation
        .rooms
        .draft_for(
            &origin,
            &room_id,
            &user_id,
            Membership::Join,
            Some(&known(&ver)),
        )
        .await?;
    let mut response = Response::new(draft.event);
    response.room_version = Some(draft.version.id().clone());
    Ok(response)
}
