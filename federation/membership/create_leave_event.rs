//! `PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`

use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::create_leave_event::v2::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn create_leave_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let (room_id, event_id) = (request.room_id, request.event_id);
    federation
        .rooms
        .admit(
            &origin,
            &room_id,
            &event_id,
            &request.pdu,
            Membership::Leave,
            false,
        )
        .await?;
    Ok(Response::new())
}
