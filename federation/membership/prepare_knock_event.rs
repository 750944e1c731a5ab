//! `GET /_matrix/federation/v1/make_knock/{roomId}/{userId}`

use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::prepare_knock_event::v1::{Request, Response},
};

use super::known;
use crate::{Error, Federation};

pub(super) async fn prepare_knock_event(
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
            Membership::Knock,
            Some(&known(&ver)),
        )
        .await?;
    Ok(Response::new(draft.version.id().clone(), draft.event))
}
