//! Owns the pages of the public room list, for both forms of asking: this server's, or another's. Must never decide what is
//! listed.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use hearth_rooms::PublicPage;
use ruma::{
    OwnedServerName, ServerName, UInt,
    api::federation::directory::get_public_rooms_filtered,
    directory::{Filter, PublicRoomsChunk, RoomNetwork},
};
use serde_json::{Value, json};

use crate::{App, answer::Json, error::Error};

/// Rooms on a page when the caller names no number, and at most.
const PAGE: usize = 100;

/// What is asked for.
pub(super) struct Ask {
    pub(super) server: Option<OwnedServerName>,
    pub(super) limit: Option<UInt>,
    pub(super) since: Option<String>,
    pub(super) filter: Filter,
    pub(super) network: RoomNetwork,
}

/// Some of the rooms, and the tokens of the pages around them.
pub(super) struct Page {
    pub(super) rooms: Vec<PublicRoomsChunk>,
    pub(super) next: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) total: UInt,
}

impl From<PublicPage> for Page {
    fn from(page: PublicPage) -> Self {
        Self {
            total: UInt::try_from(page.total).unwrap_or(UInt::MAX),
            rooms: page.rooms,
            next: page.next,
            previous: page.previous,
        }
    }
}

/// The page that `ask` describes.
///
/// # Errors
/// 400 for a token that this server did not give; what another server says, or 502 if it does not answer.
pub(super) async fn page(app: &App, ask: Ask) -> Result<Page, Error> {
    if let Some(server) = &ask.server
        && *server != app.settings.server_name
    {
        return elsewhere(app, server, &ask).await;
    }
    if matches!(ask.network, RoomNetwork::ThirdParty(_)) {
        return Ok(PublicPage::default().into());
    }
    let limit = ask
        .limit
        .and_then(|limit| usize::try_from(u64::from(limit)).ok())
        .map_or(PAGE, |limit| limit.min(PAGE));
    let view = app.store.view().await?;
    let page = app
        .rooms
        .public_page(&view, &ask.filter, ask.since.as_deref(), limit)
        .await?;
    Ok(page.into())
}

/// A page of another server's list.
async fn elsewhere(app: &App, server: &ServerName, ask: &Ask) -> Result<Page, Error> {
    let Ok(remote) = app.rooms.remote() else {
        return Err(Error::not_found(
            "the list of that server is not known here",
        ));
    };
    let mut request = get_public_rooms_filtered::v1::Request::new();
    request.limit = ask.limit;
    request.since.clone_from(&ask.since);
    request.filter = ask.filter.clone();
    request.room_network = ask.network.clone();
    let asked = remote.public_rooms(server, request).await;
    let answer = asked.map_err(hearth_rooms::Error::from)?;
    Ok(Page {
        total: answer
            .total_room_count_estimate
            .unwrap_or_else(|| UInt::try_from(answer.chunk.len()).unwrap_or(UInt::MAX)),
        next: answer.next_batch,
        previous: answer.prev_batch,
        rooms: answer.chunk,
    })
}

/// The page as both forms of asking answer it. The rule of joining is told of public rooms too, though clients may take an
/// absent one for that: not all do.
///
/// # Errors
/// None that a caller causes.
pub(super) fn shown(page: Page) -> Result<Json<Value>, Error> {
    let mut rooms = Vec::with_capacity(page.rooms.len());
    for room in &page.rooms {
        let mut shown = serde_json::to_value(room).map_err(|error| Error::internal(&error))?;
        shown["join_rule"] = room.join_rule.as_str().into();
        rooms.push(shown);
    }
    let mut answer = json!({ "chunk": rooms, "total_room_count_estimate": page.total });
    for (name, token) in [("next_batch", page.next), ("prev_batch", page.previous)] {
        if let Some(token) = token {
            answer[name] = token.into();
        }
    }
    Ok(Json(answer))
}
