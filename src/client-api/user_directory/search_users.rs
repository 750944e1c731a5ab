//! `POST /_matrix/client/v3/user_directory/search`

use std::collections::BTreeMap;

use hearth_store::View;
use hearth_users::Session;
use ruma::{
    OwnedMxcUri, OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::user_directory::search_users::v3::{Request, Response, User},
};
use serde::Deserialize;

use crate::{App, error::Error, tokens};

/// Users in an answer at most.
const MOST: usize = 50;
/// Rooms that are searched: those of the caller, and published ones.
const ROOMS: usize = 200;
/// Members that are looked at in all.
const MEMBERS: usize = 20_000;

/// Finds those who share a room with the caller, and those in published rooms, as the specification asks at least. The caller
/// is found as strangers find them: through a room that is open to all.
pub(super) async fn search_users(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let limit = tokens::limit(Some(request.limit), MOST, MOST);
    let mut search = Search {
        app: &app,
        view: &view,
        caller: &session.user_id,
        term: request.search_term.trim().to_lowercase(),
        looked_at: 0,
        found: BTreeMap::new(),
    };
    if search.term.is_empty() {
        return Ok(Response::new(Vec::new(), false));
    }
    let mut rooms = app.rooms.joined_rooms(&view, &session.user_id).await?;
    rooms.extend(app.rooms.published(&view).await?);
    for room in rooms.iter().take(ROOMS) {
        if search.looked_at >= MEMBERS || search.found.len() > limit {
            break;
        }
        search.room(room).await?;
    }
    let limited = search.found.len() > limit;
    let results = search.found.into_values().take(limit).collect();
    Ok(Response::new(results, limited))
}

struct Search<'a> {
    app: &'a App,
    view: &'a View,
    caller: &'a UserId,
    term: String,
    looked_at: usize,
    found: BTreeMap<OwnedUserId, User>,
}

#[derive(Deserialize)]
struct Content {
    membership: String,
    displayname: Option<String>,
    avatar_url: Option<OwnedMxcUri>,
}

impl Search<'_> {
    async fn room(&mut self, room: &OwnedRoomId) -> Result<(), Error> {
        let Some(head) = self.app.rooms.head(self.view, room).await? else {
            return Ok(());
        };
        let members = self
            .app
            .rooms
            .full_state(self.view, &head, head.state, Some("m.room.member"))
            .await?;
        self.looked_at += members.len();
        for event in members {
            let content = serde_json::from_str::<Content>(event.pdu.content().get());
            let user = event
                .pdu
                .state_key()
                .and_then(|key| UserId::parse(key).ok());
            if let (Some(user), Ok(content)) = (user, content)
                && content.membership == "join"
                && !self.found.contains_key(&user)
            {
                let shown = self.face(user, content).await?;
                if self.matches(&shown.user_id, shown.display_name.as_deref())
                    && (shown.user_id != self.caller || self.is_open(room).await?)
                {
                    self.found.insert(shown.user_id.clone(), shown);
                }
            }
        }
        Ok(())
    }

    /// Whether anybody may come into the room or look into it.
    async fn is_open(&self, room: &RoomId) -> Result<bool, Error> {
        let summary = self.app.rooms.summary(self.view, room).await?;
        Ok(summary.is_some_and(|room| room.join_rule == "public" || room.world_readable))
    }

    /// How a member is shown: users of this server as their profile says, since a name that they use in one room is meant
    /// for that room alone; of others nothing else is known than a room.
    async fn face(&self, user: OwnedUserId, content: Content) -> Result<User, Error> {
        let mut shown = User::new(user);
        if self.app.rooms.is_local(&shown.user_id) {
            let profile = self.app.users.profile(self.view, &shown.user_id).await?;
            shown.display_name = profile.displayname;
            shown.avatar_url = profile.avatar_url.map(OwnedMxcUri::from);
        } else {
            shown.display_name = content.displayname;
            shown.avatar_url = content.avatar_url;
        }
        Ok(shown)
    }

    fn matches(&self, user: &UserId, name: Option<&str>) -> bool {
        user.as_str().to_lowercase().contains(&self.term)
            || name.is_some_and(|name| name.to_lowercase().contains(&self.term))
    }
}
