//! Owns what a user takes along from a room to the one that replaces it: push rules and tags. Must never be in the way: a
//! room is joined, whether or not this succeeds.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-upgrades>

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use crate::{App, error::Error};

/// Gives `user` in `room` what they have for the room that it replaces, if it replaces one in which they were.
pub(crate) async fn carry_over(app: &App, user: &UserId, room: &RoomId) {
    if let Err(error) = try_to(app, user, room).await {
        tracing::warn!(?error, %room, "push rules and tags stay behind");
    }
}

async fn try_to(app: &App, user: &UserId, room: &RoomId) -> Result<(), Error> {
    let Some(old) = predecessor(app, room).await? else {
        return Ok(());
    };
    app.users.carry_push_rules(user, &old, room).await?;
    app.users.carry_tags(user, &old, room).await?;
    Ok(())
}

async fn predecessor(app: &App, room: &RoomId) -> Result<Option<OwnedRoomId>, Error> {
    #[derive(Deserialize)]
    struct Content {
        predecessor: Option<Predecessor>,
    }
    #[derive(Deserialize)]
    struct Predecessor {
        room_id: OwnedRoomId,
    }
    let view = app.store.view().await?;
    let Some(head) = app.rooms.head(&view, room).await? else {
        return Ok(None);
    };
    let create = app
        .rooms
        .state_event(&view, &head, head.state, "m.room.create", "")
        .await?;
    let content = create.and_then(|event| {
        serde_json::from_str::<Content>(event.pdu.content().get())
            .ok()?
            .predecessor
    });
    Ok(content.map(|old| old.room_id))
}
