//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::{
    OwnedMxcUri, OwnedUserId, UserId,
    api::client::membership::joined_members::v3::{Request, Response, RoomMember},
};
use serde::Deserialize;

use super::with_members;
use crate::{App, error::Error};

#[derive(Default, Deserialize)]
struct Content {
    membership: String,
    displayname: Option<String>,
    avatar_url: Option<OwnedMxcUri>,
}

/// For members only: those who left are told with `/members`.
pub(super) async fn joined_members(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (user, room) = (&session.user_id, &request.room_id);
    let view = with_members(&app, &session, room).await?;
    if !app.rooms.is_joined(&view, user, room).await? {
        return Err(Error::forbidden("you are not in this room"));
    }
    let (head, root) = app.rooms.readable_state(&view, user, room).await?;
    let members = app
        .rooms
        .full_state(&view, &head, root, Some("m.room.member"))
        .await?;
    let mut joined: BTreeMap<OwnedUserId, RoomMember> = BTreeMap::new();
    for event in members {
        let content: Content = serde_json::from_str(event.pdu.content().get()).unwrap_or_default();
        let user = event
            .pdu
            .state_key()
            .and_then(|key| UserId::parse(key).ok());
        if let (Some(user), "join") = (user, &*content.membership) {
            let mut member = RoomMember::new();
            member.display_name = content.displayname;
            member.avatar_url = content.avatar_url;
            joined.insert(user, member);
        }
    }
    Ok(Response::new(joined))
}
