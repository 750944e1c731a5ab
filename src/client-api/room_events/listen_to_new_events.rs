//! `GET /_matrix/client/v3/events`

use std::{sync::Arc, time::Duration};

use hearth_rooms::StoredEvent;
use hearth_store::{Direction, Hint, Position, Topic, View};
use hearth_sync::{Token, Woken};
use hearth_users::Session;
use ruma::api::client::peeking::listen_to_new_events::v3::{Request, Response};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

use crate::{App, error::Error, show, tokens};

/// Events in an answer at most.
const MOST: usize = 100;
/// The longest wait.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// Is looked at least this often, in case a hint was lost.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What happens in a room that the caller looks into without being in it: at once if there is something, else as soon as
/// there is, or when the time is over.
pub(super) async fn listen_to_new_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let room = &request.room_id;
    // Subscribed before the first look, so that nothing falls between.
    let mut hints = app.store.hints().subscribe();
    let mut waiter = app.sync.notifier().register(&session.user_id);
    let view = app.store.view().await?;
    let since = match request.from.as_deref() {
        Some(token) => tokens::position(token)?.min(view.position()),
        None => view.position(),
    };
    drop(view);
    let end = Instant::now() + request.timeout.unwrap_or_default().min(MAX_TIMEOUT);
    let mut closing = false;
    loop {
        let view = app.store.view().await?;
        let (events, upto) = look(&app, &view, &session, room, since).await?;
        let left = end.saturating_duration_since(Instant::now());
        if !events.is_empty() || left.is_zero() || closing {
            let mut response = Response::new();
            response.start = Some(Token::at(since).to_string());
            response.end = Some(Token::at(upto).to_string());
            response.chunk = show::timeline(&app, &view, &session, &events).await?;
            return Ok(response);
        }
        drop(view);
        let topic = Topic::new('r', room.as_str());
        tokio::select! {
            () = moved(&mut hints, &topic) => {}
            woken = waiter.wait(left.min(LOOK_EVERY)) => closing = woken == Woken::Closing,
        }
    }
}

/// What the caller may see after `since`, oldest first, and up to where that is all.
async fn look(
    app: &App,
    view: &View,
    session: &Session,
    room: &ruma::RoomId,
    since: Position,
) -> Result<(Vec<Arc<StoredEvent>>, Position), Error> {
    let user = &session.user_id;
    let (head, _) = app.rooms.readable_state(view, user, room).await?;
    let (upto, forward) = (view.position(), Direction::Forward);
    let mut events = app
        .rooms
        .timeline(view, room, since, upto, forward, MOST)
        .await?;
    let upto = match events.last() {
        Some(last) if events.len() == MOST => last.position,
        _ => upto,
    };
    app.rooms
        .retain_visible(view, &head, user, &mut events)
        .await?;
    Ok((events, upto))
}

/// Waits until something may have happened in the room.
async fn moved(hints: &mut Receiver<Hint>, room: &Topic) {
    loop {
        match hints.recv().await {
            Ok(hint) if !hint.topics.contains(room) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // Nobody tells any more: the time runs out.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
