//! `GET /_matrix/client/v3/publicRooms`

use ruma::{
    api::client::directory::get_public_rooms::v3::{Request, Response},
    directory::{Filter, RoomNetwork},
};

use super::published::{self, Ask};
use crate::{App, error::Error};

pub(super) async fn get_public_rooms(app: App, request: Request) -> Result<Response, Error> {
    let ask = Ask {
        server: request.server,
        limit: request.limit,
        since: request.since,
        filter: Filter::new(),
        network: RoomNetwork::default(),
    };
    let page = published::page(&app, ask).await?;
    let mut response = Response::new(page.rooms);
    response.next_batch = page.next;
    response.prev_batch = page.previous;
    response.total_room_count_estimate = Some(page.total);
    Ok(response)
}
