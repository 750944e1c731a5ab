//! `GET /_matrix/client/v1/rooms/{roomId}/threads`

use hearth_users::Session;
use ruma::api::client::threads::get_threads::v1::{IncludeThreads, Request, Response};

use crate::{App, error::Error, show, tokens};

/// Threads on a page when the caller names no number.
const PAGE: usize = 20;
/// Threads on a page at most.
const MOST: usize = 100;

/// The roots of threads, those with the latest reply first.
pub(super) async fn get_threads(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let room = &request.room_id;
    let from = tokens::place_of(&app, &view, room, request.from.as_ref()).await?;
    let page = app
        .rooms
        .threads(
            &view,
            &session.user_id,
            room,
            request.include == IncludeThreads::Participated,
            from,
            tokens::limit(request.limit, PAGE, MOST),
        )
        .await?;
    let chunk = show::timeline(&app, &view, &session, &page.events).await?;
    let mut response = Response::new(chunk);
    response.next_batch = page.next.map(|place| place.to_string());
    Ok(response)
}
