//! `POST /_matrix/federation/v1/publicRooms`

use ruma::{
    OwnedServerName, UInt,
    api::federation::directory::get_public_rooms_filtered::v1::{Request, Response},
    directory::RoomNetwork,
};

use crate::{Error, Federation};

/// Rooms on a page at most.
const PAGE: usize = 100;

pub(super) async fn get_public_rooms_filtered(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let mut response = Response::new();
    if matches!(request.room_network, RoomNetwork::ThirdParty(_)) {
        return Ok(response);
    }
    let limit = request
        .limit
        .and_then(|limit| usize::try_from(u64::from(limit)).ok());
    let limit = limit.map_or(PAGE, |limit| limit.min(PAGE));
    let view = federation.store.view().await?;
    let since = request.since.as_deref();
    let page = federation
        .rooms
        .public_page(&view, &request.filter, since, limit)
        .await?;
    response.total_room_count_estimate = UInt::try_from(page.total).ok();
    response.chunk = page.rooms;
    response.next_batch = page.next;
    response.prev_batch = page.previous;
    Ok(response)
}
