//! `GET /_matrix/federation/v1/backfill/{roomId}`

use hearth_protocol::federation_json;
use ruma::{
    OwnedServerName,
    api::federation::backfill::get_backfill::v1::{Request, Response},
};

use crate::{Error, Federation};

/// How many events one request may start from.
const MAX_STARTS: usize = 50;

/// How many events are given.
const MAX_EVENTS: usize = 100;

pub(super) async fn get_backfill(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    if request.v.len() > MAX_STARTS {
        return Err(Error::invalid_param("too many events are named"));
    }
    let view = federation.store.view().await?;
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(MAX_EVENTS);
    let events = federation
        .rooms
        .backfill_for(
            &view,
            &origin,
            &request.room_id,
            &request.v,
            limit.min(MAX_EVENTS),
        )
        .await?;
    let own = federation.peers.settings().server_name.clone();
    let events = events.iter().map(federation_json).collect();
    Ok(Response::new(own, federation.timestamp(), events))
}
