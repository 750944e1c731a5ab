//! `PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`

use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::{
        RawStrippedState,
        create_knock_event::v1::{Request, Response},
    },
};

use crate::{Error, Federation};

pub(super) async fn create_knock_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let (room_id, event_id) = (request.room_id, request.event_id);
    let admitted = federation
        .rooms
        .admit(
            &origin,
            &room_id,
            &event_id,
            &request.pdu,
            Membership::Knock,
            false,
        )
        .await?;
    let shown = admitted.shown.into_iter().map(RawStrippedState::Pdu);
    Ok(Response::new(shown.collect()))
}
