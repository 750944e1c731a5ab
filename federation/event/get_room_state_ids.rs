//! `GET /_matrix/federation/v1/state_ids/{roomId}`

use ruma::{
    OwnedServerName,
    api::federation::event::get_room_state_ids::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn get_room_state_ids(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let (room_id, event_id) = (request.room_id, request.event_id);
    let found = federation
        .rooms
        .state_for(&view, &origin, &room_id, &event_id)
        .await?;
    Ok(Response::new(
        found
            .auth_chain
            .iter()
            .map(|event| event.event_id().to_owned())
            .collect(),
        found
            .state
            .iter()
            .map(|event| event.event_id().to_owned())
            .collect(),
    ))
}
