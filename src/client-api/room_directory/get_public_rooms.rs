//! `GET /_matrix/client/v3/publicRooms`

use ruma::{
    api::client::directory::get_public_rooms::v3::Request,
    directory::{Filter, RoomNetwork},
};

use super::published::{self, Ask};
use crate::{App, answer::Answer, error::Error};

pub(super) async fn get_public_rooms(app: App, request: Request) -> Result<impl Answer, Error> {
    let ask = Ask {
        server: request.server,
        limit: request.limit,
        since: request.since,
        filter: Filter::new(),
        network: RoomNetwork::default(),
    };
    published::shown(published::page(&app, ask).await?)
}
