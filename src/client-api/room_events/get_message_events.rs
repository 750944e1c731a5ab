//! `GET /_matrix/client/v3/rooms/{roomId}/messages`

use hearth_users::Session;
use ruma::api::{
    Direction,
    client::message::get_message_events::v3::{Request, Response},
};

use super::lazy_members::members_of;
use crate::{App, error::Error, show, tokens};

/// Events on a page at most.
const MOST: usize = 1000;

pub(super) async fn get_message_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let (room, filter) = (&request.room_id, &request.filter);
    let from = match (&request.from, request.dir) {
        (Some(token), _) => Some(tokens::place(&app, &view, room, token).await?),
        // Now, so that what is said later lies after the start of the page.
        (None, Direction::Backward) => {
            Some(app.rooms.place_at(&view, room, view.position()).await?)
        }
        (None, Direction::Forward) => None,
    };
    let to = tokens::place_of(&app, &view, room, request.to.as_ref()).await?;
    let asked = filter
        .limit
        .map_or(request.limit, |most| most.min(request.limit));
    let page = app
        .rooms
        .page(
            &view,
            &session.user_id,
            room,
            (from, to),
            tokens::direction(request.dir),
            tokens::limit(Some(asked), MOST, MOST),
            |event| hearth_sync::passes_filter(filter, &event.pdu),
        )
        .await?;

    let mut response = Response::new();
    response.start = match (request.from, page.start) {
        (Some(from), _) => from,
        (None, start) => start.map(|place| place.to_string()).unwrap_or_default(),
    };
    response.end = page.end.map(|place| place.to_string());
    if !filter.lazy_load_options.is_disabled() {
        response.state = members_of(&app, &view, &session, room, &page.events).await?;
    }
    response.chunk = show::timeline(&app, &view, &session, &page.events).await?;
    Ok(response)
}
