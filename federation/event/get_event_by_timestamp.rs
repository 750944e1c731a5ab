//! `GET /_matrix/federation/v1/timestamp_to_event/{roomId}`

use ruma::{
    OwnedServerName,
    api::{
        Direction,
        federation::event::get_event_by_timestamp::v1::{Request, Response},
    },
};

use crate::{Error, Federation};

pub(super) async fn get_event_by_timestamp(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let direction = match request.dir {
        Direction::Forward => hearth_store::Direction::Forward,
        Direction::Backward => hearth_store::Direction::Backward,
    };
    let view = federation.store.view().await?;
    let near = federation
        .rooms
        .event_near_for(&view, &origin, &request.room_id, request.ts, direction)
        .await?;
    let (id, time) = (near.event_id().to_owned(), near.pdu.origin_server_ts());
    Ok(Response::new(id, time))
}
