//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`

use std::collections::BTreeSet;

use hearth_store::View;
use hearth_users::Session;
use ruma::{
    OwnedRoomId, OwnedServerName,
    api::client::space::{
        SpaceHierarchyRoomsChunk,
        get_hierarchy::v1::{Request, Response},
    },
    room::RoomType,
};

use super::{
    children::{Child, children, told_children},
    elsewhere::Elsewhere,
    may_preview,
};
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
    let mut walk = Walk {
        app: &app,
        view: &view,
        session: &session,
        deepest: request
            .max_depth
            .map_or(DEEPEST, |depth| u64::from(depth).min(DEEPEST)),
        suggested_only: request.suggested_only,
        elsewhere: Elsewhere::default(),
    };
    let found = walk
        .rooms(request.room_id, skip.saturating_add(limit))
        .await?;
    let mut response = Response::new();
    response.next_batch = found.more.then(|| skip.saturating_add(limit).to_string());
    response.rooms = found.rooms.into_iter().skip(skip).collect();
    Ok(response)
}

/// A room that is ahead of a walk.
struct Ahead {
    room: OwnedRoomId,
    depth: u64,
    /// Servers that know it, as the space says.
    via: Vec<OwnedServerName>,
}

struct Walk<'a> {
    app: &'a App,
    view: &'a View,
    session: &'a Session,
    deepest: u64,
    suggested_only: bool,
    elsewhere: Elsewhere,
}

struct Found {
    rooms: Vec<SpaceHierarchyRoomsChunk>,
    more: bool,
}

impl Walk<'_> {
    /// The first `wanted` rooms of the tree under `root`, itself included, and whether there are more.
    async fn rooms(&mut self, root: OwnedRoomId, wanted: usize) -> Result<Found, Error> {
        let mut found = Found {
            rooms: Vec::new(),
            more: false,
        };
        let mut seen = BTreeSet::from([root.clone()]);
        let mut ahead = vec![Ahead {
            room: root.clone(),
            depth: 0,
            via: root
                .server_name()
                .map(ToOwned::to_owned)
                .into_iter()
                .collect(),
        }];
        let mut visited = 0;
        while let Some(next) = ahead.pop() {
            visited += 1;
            if visited > VISITED {
                break;
            }
            let Some((chunk, children)) = self.room(&next).await? else {
                if next.room == root {
                    return Err(Error::forbidden("no such space, or not for you"));
                }
                continue;
            };
            if found.rooms.len() == wanted {
                found.more = true;
                break;
            }
            // What is pushed last is visited first.
            for child in children.into_iter().rev() {
                if next.depth < self.deepest && seen.insert(child.room.clone()) {
                    ahead.push(Ahead {
                        room: child.room,
                        depth: next.depth + 1,
                        via: child.via,
                    });
                }
            }
            found.rooms.push(chunk);
        }
        Ok(found)
    }

    /// One room, if the caller may know of it, and what it holds.
    async fn room(
        &mut self,
        ahead: &Ahead,
    ) -> Result<Option<(SpaceHierarchyRoomsChunk, Vec<Child>)>, Error> {
        let rooms = &self.app.rooms;
        let is_here = rooms
            .is_server_in_room(self.view, rooms.server_name(), &ahead.room)
            .await?;
        let told = match is_here {
            true => None,
            false => {
                let asked = (&*ahead.room, &*ahead.via, self.suggested_only);
                self.elsewhere.look(rooms, asked).await
            }
        };
        let (summary, shown) = match told {
            Some(told) => told,
            None => match summary::summary(self.app, self.view, &ahead.room).await? {
                Some(summary) => (summary, Vec::new()),
                None => return Ok(None),
            },
        };
        let user = Some(&*self.session.user_id);
        if !may_preview(self.app, self.view, user, &summary).await? {
            return Ok(None);
        }
        if summary.room_type != Some(RoomType::Space) {
            let chunk = SpaceHierarchyRoomsChunk::new(summary, Vec::new());
            return Ok(Some((chunk, Vec::new())));
        }
        let children = match is_here || shown.is_empty() {
            true => children(self.app, self.view, &ahead.room, self.suggested_only).await?,
            false => told_children(&shown, self.suggested_only),
        };
        let shown = children.iter().map(|child| child.shown.clone()).collect();
        let chunk = SpaceHierarchyRoomsChunk::new(summary, shown);
        Ok(Some((chunk, children)))
    }
}
