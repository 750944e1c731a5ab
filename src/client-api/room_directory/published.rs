//! Owns the pages of the public room list, for both forms of asking. Must never list a room that its members did not
//! publish.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use hearth_store::View;
use ruma::{
    OwnedRoomId, OwnedServerName, UInt,
    directory::{Filter, PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
};

use serde_json::{Value, json};

use crate::{App, answer::Json, error::Error, summary};

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

/// The page that `ask` describes: the rooms with the most members first. A token is how many rooms come before the page.
///
/// # Errors
/// 400 for a token that this server did not give, 404 for another server's list.
pub(super) async fn page(app: &App, ask: Ask) -> Result<Page, Error> {
    if let Some(server) = &ask.server
        && *server != app.settings.server_name
    {
        return Err(Error::not_found(
            "the list of that server is not known here",
        ));
    }
    let skip = match &ask.since {
        Some(token) => token
            .parse::<usize>()
            .map_err(|_| Error::invalid_param("since is not a token of this list"))?,
        None => 0,
    };
    let limit = ask
        .limit
        .and_then(|limit| usize::try_from(u64::from(limit)).ok())
        .map_or(PAGE, |limit| limit.min(PAGE));
    let mut rooms = match ask.network {
        RoomNetwork::ThirdParty(_) => Vec::new(),
        _ => listed(app, &ask.filter).await?,
    };
    rooms.sort_by(|a, b| {
        (b.num_joined_members, &a.room_id).cmp(&(a.num_joined_members, &b.room_id))
    });
    let total = rooms.len();
    let page: Vec<_> = rooms.into_iter().skip(skip).take(limit).collect();
    let end = skip.saturating_add(page.len());
    Ok(Page {
        next: (end < total && limit > 0).then(|| end.to_string()),
        previous: (skip > 0).then(|| skip.saturating_sub(limit).to_string()),
        total: UInt::try_from(total).unwrap_or(UInt::MAX),
        rooms: page,
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

async fn listed(app: &App, filter: &Filter) -> Result<Vec<PublicRoomsChunk>, Error> {
    let view = app.store.view().await?;
    let mut found = Vec::new();
    for room in app.rooms.published(&view).await? {
        if let Some(chunk) = chunk(app, &view, room).await?
            && passes(filter, &chunk)
        {
            found.push(chunk);
        }
    }
    Ok(found)
}

async fn chunk(
    app: &App,
    view: &View,
    room: OwnedRoomId,
) -> Result<Option<PublicRoomsChunk>, Error> {
    let summary = summary::summary(app, view, &room).await?;
    Ok(summary.map(PublicRoomsChunk::from))
}

fn passes(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    passes_term(filter, room) && passes_type(filter, room)
}

fn passes_term(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    let Some(term) = &filter.generic_search_term else {
        return true;
    };
    let term = term.to_lowercase();
    let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
    [room.name.as_deref(), room.topic.as_deref(), alias]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&term))
}

fn passes_type(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    let wanted = RoomTypeFilter::from(room.room_type.clone());
    filter.room_types.is_empty() || filter.room_types.contains(&wanted)
}
