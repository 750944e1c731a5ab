//! `POST /_matrix/client/v3/publicRooms`

use hearth_users::Session;
use ruma::api::client::directory::get_public_rooms_filtered::v3::Request;

use super::published::{self, Ask};
use crate::{App, answer::Answer, error::Error};

pub(super) async fn get_public_rooms_filtered(
    app: App,
    _: Session,
    request: Request,
) -> Result<impl Answer, Error> {
    let ask = Ask {
        server: request.server,
        limit: request.limit,
        since: request.since,
        filter: request.filter,
        network: request.room_network,
    };
    published::shown(published::page(&app, ask).await?)
}
