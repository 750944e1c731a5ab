//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}`

use hearth_users::Session;
use ruma::api::client::relations::get_relating_events::v1::{Request, Response};

use super::children::{self, Ask};
use crate::{App, error::Error};

pub(super) async fn get_relating_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let ask = Ask {
        room_id: request.room_id,
        event_id: request.event_id,
        rel_type: None,
        event_type: None,
        from: request.from,
        to: request.to,
        direction: request.dir,
        limit: request.limit,
        recurse: request.recurse,
    };
    let page = children::page(&app, &session, ask).await?;
    let mut response = Response::new(page.chunk);
    response.next_batch = page.next;
    response.prev_batch = page.previous;
    response.recursion_depth = page.depth;
    Ok(response)
}
