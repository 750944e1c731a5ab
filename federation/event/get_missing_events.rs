//! `POST /_matrix/federation/v1/get_missing_events/{roomId}`

use hearth_protocol::federation_json;
use ruma::{
    OwnedServerName,
    api::federation::event::get_missing_events::v1::{Request, Response},
};

use crate::{Error, Federation};

/// How many events one request may start or end at.
const MAX_ENDS: usize = 50;

/// How many events are given.
const MAX_EVENTS: usize = 20;

pub(super) async fn get_missing_events(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let ends = |ids: &[_]| ids.len() <= MAX_ENDS;
    if !ends(&request.earliest_events) || !ends(&request.latest_events) {
        return Err(Error::invalid_param("too many events are named"));
    }
    let view = federation.store.view().await?;
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(MAX_EVENTS);
    let between = (&*request.earliest_events, &*request.latest_events);
    let events = federation
        .rooms
        .missing_events_for(
            &view,
            &origin,
            &request.room_id,
            between,
            limit.min(MAX_EVENTS),
        )
        .await?;
    Ok(Response::new(events.iter().map(federation_json).collect()))
}
