//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`

use hearth_users::Session;
use ruma::api::client::relations::get_relating_events_with_rel_type_and_event_type::v1::{
    Request, Response,
};

use super::children::{self, Ask};
use crate::{App, error::Error};

pub(super) async fn get_relating_events_with_rel_type_and_event_type(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let ask = Ask {
        room_id: request.room_id,
        event_id: request.event_id,
        rel_type: Some(request.rel_type),
        event_type: Some(request.event_type),
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
