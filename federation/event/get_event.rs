//! `GET /_matrix/federation/v1/event/{eventId}`

use hearth_protocol::federation_json;
use ruma::{
    OwnedServerName,
    api::federation::event::get_event::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn get_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let event = federation
        .rooms
        .event_for(&view, &origin, &request.event_id)
        .await?;
    let own = federation.peers.settings().server_name.clone();
    Ok(Response::new(
        own,
        federation.timestamp(),
        federation_json(&event),
    ))
}
