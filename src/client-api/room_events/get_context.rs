//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`

use std::sync::Arc;

use hearth_rooms::{Context, StoredEvent};
use hearth_store::View;
use hearth_users::Session;
use ruma::{
    RoomId,
    api::client::context::get_context::v3::{Request, Response},
    events::AnyStateEvent,
    serde::Raw,
};

use super::{lazy_members::members_of, with_members};
use crate::{App, error::Error, show};

/// Events around the one asked for at most.
const AROUND: usize = 100;

pub(super) async fn get_context(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let (room, filter) = (&request.room_id, &request.filter);
    let limit = usize::try_from(u64::from(request.limit)).map_or(AROUND, |n| n.min(AROUND));
    let context = app
        .rooms
        .context(
            &view,
            &session.user_id,
            room,
            &request.event_id,
            limit,
            |event| hearth_sync::passes_filter(filter, &event.pdu),
        )
        .await?;
    let lazy = !filter.lazy_load_options.is_disabled();
    // Anew: where other servers filled a gap, the pages hold what an earlier view lacks.
    drop(view);
    let view = match lazy {
        true => app.store.view().await?,
        false => with_members(&app, &session, room).await?,
    };
    let mut response = Response::new();
    response.start = end_of(&context.before);
    response.end = end_of(&context.after);
    response.state = state(&app, &view, &session, room, &context, lazy).await?;
    response.events_before = show::timeline(&app, &view, &session, &context.before.events).await?;
    response.events_after = show::timeline(&app, &view, &session, &context.after.events).await?;
    response.event = Some(show::event(&app, &view, &session, &context.event).await?);
    Ok(response)
}

/// Where a page goes on. At the end of the history, where it started: asking again finds nothing, which is right.
fn end_of(page: &hearth_rooms::Page) -> Option<String> {
    let beyond = || page.events.last().map(|event| event.place());
    page.end
        .or_else(beyond)
        .or(page.start)
        .map(|place| place.to_string())
}

/// The state at the last event; with lazy loading, of its members only those who speak.
async fn state(
    app: &App,
    view: &View,
    session: &Session,
    room: &RoomId,
    context: &Context,
    lazy: bool,
) -> Result<Vec<Raw<AnyStateEvent>>, Error> {
    let newest = context.after.events.last().unwrap_or(&context.event);
    let mut state = Vec::new();
    if lazy {
        let all: Vec<Arc<StoredEvent>> = context
            .before
            .events
            .iter()
            .chain([&context.event])
            .chain(&context.after.events)
            .cloned()
            .collect();
        state = members_of(app, view, session, room, &all).await?;
    }
    let Some(head) = app.rooms.head(view, room).await? else {
        return Ok(state);
    };
    let root = newest.state_after;
    for event in app.rooms.full_state(view, &head, root, None).await? {
        if !(lazy && event.pdu.event_type() == "m.room.member") {
            state.push(show::plain(app, session, &event));
        }
    }
    Ok(state)
}
