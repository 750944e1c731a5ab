//! Owns the pages of events that relate to another, for all three forms of asking.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#relationships-api>

use hearth_rooms::RelationFilter;
use hearth_users::Session;
use ruma::{
    OwnedEventId, OwnedRoomId, UInt,
    events::{AnyMessageLikeEvent, TimelineEventType, relation::RelationType},
    serde::Raw,
};

use crate::{App, error::Error, show, tokens};

/// Events on a page when the caller names no number.
const PAGE: usize = 50;
/// Events on a page at most.
const MOST: usize = 500;

/// What is asked for.
pub(super) struct Ask {
    pub(super) room_id: OwnedRoomId,
    pub(super) event_id: OwnedEventId,
    pub(super) rel_type: Option<RelationType>,
    pub(super) event_type: Option<TimelineEventType>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) direction: ruma::api::Direction,
    pub(super) limit: Option<UInt>,
    pub(super) recurse: bool,
}

/// Some of the related events, and the tokens of the pages around them.
pub(super) struct Page {
    pub(super) chunk: Vec<Raw<AnyMessageLikeEvent>>,
    pub(super) next: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) depth: Option<UInt>,
}

/// The page that `ask` describes.
pub(super) async fn page(app: &App, session: &Session, ask: Ask) -> Result<Page, Error> {
    let view = app.store.view().await?;
    let room = &ask.room_id;
    let from = tokens::place_of(app, &view, room, ask.from.as_ref()).await?;
    let to = tokens::place_of(app, &view, room, ask.to.as_ref()).await?;
    let rel_type = ask.rel_type.as_ref().map(ToString::to_string);
    let event_type = ask.event_type.as_ref().map(ToString::to_string);
    let page = app
        .rooms
        .relations(
            &view,
            &session.user_id,
            room,
            &ask.event_id,
            RelationFilter {
                rel_type: rel_type.as_deref(),
                event_type: event_type.as_deref(),
                recurse: ask.recurse,
            },
            (from, to),
            tokens::direction(ask.direction),
            tokens::limit(ask.limit, PAGE, MOST),
        )
        .await?;
    Ok(Page {
        chunk: show::timeline(app, &view, session, &page.events).await?,
        next: page.next.map(|place| place.to_string()),
        previous: ask.from,
        depth: ask.recurse.then(|| UInt::from(page.depth)),
    })
}
