//! `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`

use hearth_protocol::federation_json;
use ruma::{
    OwnedServerName,
    api::federation::authorization::get_event_authorization::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn get_event_authorization(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let (room_id, event_id) = (request.room_id, request.event_id);
    let chain = federation
        .rooms
        .auth_chain_for(&view, &origin, &room_id, &event_id)
        .await?;
    Ok(Response::new(
        chain
            .iter()
            .map(|event| federation_json(&event.pdu))
            .collect(),
    ))
}
