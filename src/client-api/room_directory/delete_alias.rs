//! `DELETE /_matrix/client/v3/directory/room/{roomAlias}`

use hearth_rooms::NewEvent;
use hearth_users::Session;
use ruma::{
    RoomAliasId, RoomId, UserId,
    api::client::alias::delete_alias::v3::{Request, Response},
};
use serde_json::{Map, Value, value::to_raw_value};

use crate::{App, error::Error};

const CANONICAL: &str = "m.room.canonical_alias";

pub(super) async fn delete_alias(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (alias, user) = (&request.room_alias, &session.user_id);
    let room = app.rooms.delete_alias(alias, user, session.admin).await?;
    if let Err(error) = disown(&app, user, &room, alias).await {
        tracing::debug!(?error, %room, "a room goes on naming an alias that is gone");
    }
    Ok(Response::new())
}

/// Takes the alias out of those that the room names as its own, in the name of who deleted it. Not to be allowed to is no
/// failure: the alias is gone all the same.
async fn disown(app: &App, user: &UserId, room: &RoomId, alias: &RoomAliasId) -> Result<(), Error> {
    let view = app.store.view().await?;
    let Some(head) = app.rooms.head(&view, room).await? else {
        return Ok(());
    };
    let current = app
        .rooms
        .state_event(&view, &head, head.state, CANONICAL, "")
        .await?;
    let Some(current) = current else {
        return Ok(());
    };
    let Ok(mut content) = serde_json::from_str::<Map<String, Value>>(current.pdu.content().get())
    else {
        return Ok(());
    };
    if !strike(&mut content, alias.as_str()) {
        return Ok(());
    }
    let content = to_raw_value(&content).map_err(|error| Error::internal(&error))?;
    let event = NewEvent::state(room.to_owned(), user.to_owned(), CANONICAL, "", content);
    app.rooms.send(event).await?;
    Ok(())
}

/// Removes the alias from the content; whether it was there.
fn strike(content: &mut Map<String, Value>, alias: &str) -> bool {
    let mut found = false;
    if content.get("alias").is_some_and(|main| main == alias) {
        content.remove("alias");
        found = true;
    }
    if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
        let before = others.len();
        others.retain(|other| other != alias);
        found |= others.len() < before;
        if others.is_empty() {
            content.remove("alt_aliases");
        }
    }
    found
}
