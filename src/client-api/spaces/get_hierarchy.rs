//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`

use std::collections::BTreeSet;

use hearth_store::View;
use hearth_users::Session;
use ruma::{
    OwnedRoomId,
    api::client::space::{
        SpaceHierarchyRoomsChunk,
        get_hierarchy::v1::{Request, Response},
    },
    room::RoomType,
};

use super::{children::children, may_preview};
use crate::{App, error::Error, summary, tokens};

/// Rooms on a page when the caller names no number, and at most.
const PAGE: usize = 50;
/// Rooms that a walk visits at most.
const VISITED: usize = 2000;
/// How deep a walk goes at most.
const DEEPEST: u64 = 16;

/// Walks the tree of rooms depth first. A token is how many rooms were shown before: the walk is done again for each page,
/// which its bounds keep cheap, and sees the rooms as they are then.
pub(super) async fn get_hierarchy(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let skip = match &request.from {
        Some(token) => token
            .parse::<usize>()
            .map_err(|_| Error::invalid_param("from is not a token of this list"))?,
        None => 0,
    };
    let limit = tokens::limit(request.limit, PAGE, PAGE);
    let walk = Walk {
        app: &app,
        view: &view,
        session: &session,
        deepest: request
            .max_depth
            .map_or(DEEPEST, |depth| u64::from(depth).min(DEEPEST)),
        suggested_only: request.suggested_only,
    };
    let found = walk
        .rooms(request.room_id, skip.saturating_add(limit))
        .await?;
    let mut response = Response::new();
    response.next_batch = found.more.then(|| skip.saturating_add(limit).to_string());
    response.rooms = found.rooms.into_iter().skip(skip).collect();
    Ok(response)
}

struct Walk<'a> {
    app: &'a App,
    view: &'a View,
    session: &'a Session,
    deepest: u64,
    suggested_only: bool,
}

struct Found {
    rooms: Vec<SpaceHierarchyRoomsChunk>,
    more: bool,
}

impl Walk<'_> {
    /// The first `wanted` rooms of the tree under `root`, itself included, and whether there are more.
    async fn rooms(&self, root: OwnedRoomId, wanted: usize) -> Result<Found, Error> {
        let mut found = Found {
            rooms: Vec::new(),
            more: false,
        };
        let mut seen = BTreeSet::from([root.clone()]);
        let mut ahead = vec![(root.clone(), 0_u64)];
        let mut visited = 0;
        while let Some((room, depth)) = ahead.pop() {
            visited += 1;
            if visited > VISITED {
                break;
            }
            let Some(chunk) = self.room(&room, depth, &mut seen, &mut ahead).await? else {
                if room == root {
                    return Err(Error::forbidden("no such space, or not for you"));
                }
                continue;
            };
            if found.rooms.len() == wanted {
                found.more = true;
                break;
            }
            found.rooms.push(chunk);
        }
        Ok(found)
    }

    /// One room, if the caller may know of it; adds what it holds to `ahead`.
    async fn room(
        &self,
        room: &OwnedRoomId,
        depth: u64,
        seen: &mut BTreeSet<OwnedRoomId>,
        ahead: &mut Vec<(OwnedRoomId, u64)>,
    ) -> Result<Option<SpaceHierarchyRoomsChunk>, Error> {
        let Some(summary) = summary::summary(self.app, self.view, room).await? else {
            return Ok(None);
        };
        let user = Some(&*self.session.user_id);
        if !may_preview(self.app, self.view, user, &summary).await? {
            return Ok(None);
        }
        let mut shown = Vec::new();
        if summary.room_type == Some(RoomType::Space) {
            let children = children(self.app, self.view, room, self.suggested_only).await?;
            // What is pushed last is visited first.
            for child in children.iter().rev() {
                if depth < self.deepest && seen.insert(child.room.clone()) {
                    ahead.push((child.room.clone(), depth + 1));
                }
            }
            shown.extend(children.into_iter().map(|child| child.shown));
        }
        Ok(Some(SpaceHierarchyRoomsChunk::new(summary, shown)))
    }
}
