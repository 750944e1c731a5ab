//! `GET /_matrix/client/v3/notifications`

use hearth_store::Position;
use hearth_users::Session;
use ruma::api::client::push::get_notifications::v3::{Notification, Request, Response};

use crate::{App, error::Error, show, tokens};

/// Events on a page, unless the client says.
const USUAL: usize = 20;
/// Events on a page at most.
const MOST: usize = 100;

/// A token is the position before which the next page goes on.
pub(super) async fn get_notifications(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let before = match request.from.as_deref() {
        None => None,
        Some(token) => Some(place(token)?),
    };
    let limit = tokens::limit(request.limit, USUAL, MOST);
    let only_highlights = request.only.as_deref() == Some("highlight");
    let view = app.store.view().await?;
    let page = app
        .sync
        .notifications(&view, &session.user_id, before, limit, only_highlights)
        .await?;
    let shown = page.notified.into_iter().map(|notified| {
        let pdu = &notified.event.pdu;
        Notification::new(
            notified.actions,
            show::plain(&app, &session, &notified.event),
            notified.is_read,
            pdu.room_id().to_owned(),
            pdu.origin_server_ts(),
        )
    });
    let mut response = Response::new(shown.collect());
    response.next_token = page.next.map(|position| format!("n{position}"));
    Ok(response)
}

fn place(token: &str) -> Result<Position, Error> {
    let digits = token.strip_prefix('n').unwrap_or_default();
    let number = digits.parse().ok().map(Position);
    number
        .filter(|position| *position <= Position::MAX)
        .ok_or_else(|| Error::invalid_param("from is not a token of this server"))
}
