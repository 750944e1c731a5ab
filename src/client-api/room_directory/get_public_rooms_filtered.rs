//! `POST /_matrix/client/v3/publicRooms`

use hearth_users::Session;
use ruma::api::client::directory::get_public_rooms_filtered::v3::{Request, Response};

use super::published::{self, Ask};
use crate::{App, error::Error};

pub(super) async fn get_public_rooms_filtered(
    app: App,
    _: Session,
    request: Request,
) -> Result<Response, Error> {
    let ask = Ask {
        server: request.server,
        limit: request.limit,
        since: request.since,
        filter: request.filter,
        network: request.room_network,
    };
    let page = published::page(&app, ask).await?;
    let mut response = Response::new();
    response.chunk = page.rooms;
    response.next_batch = page.next;
    response.prev_batch = page.previous;
    response.total_room_count_estimate = Some(page.total);
    Ok(response)
}
