//! `GET /_matrix/client/v3/rooms/{roomId}/initialSync`

use hearth_rooms::Membership;
use hearth_store::Direction;
use hearth_users::Session;
use ruma::{
    api::client::peeking::get_current_state::v3::Request,
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::with_members;
use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
    show,
};

/// Events of the timeline.
const NEWEST: usize = 20;

#[derive(Serialize)]
struct Room {
    room_id: ruma::OwnedRoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
    visibility: &'static str,
    state: Vec<Raw<AnyStateEvent>>,
    messages: Messages,
    account_data: Vec<Datum>,
}

/// A piece of account data, as the client wrote it.
#[derive(Serialize)]
struct Datum {
    #[serde(rename = "type")]
    kind: String,
    content: Box<RawValue>,
}

#[derive(Serialize)]
struct Messages {
    /// Oldest first.
    chunk: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    end: String,
}

/// For a look into a room, by one who may see it; one who left sees it as it was then.
pub(super) async fn get_current_state(
    app: App,
    session: Session,
    request: Request,
) -> Result<impl Answer, Error> {
    let (user, room) = (&session.user_id, &request.room_id);
    let view = with_members(&app, &session, room).await?;
    let (head, root) = app.rooms.readable_state(&view, user, room).await?;
    let state = app.rooms.full_state(&view, &head, root, None).await?;
    let mut newest = app
        .rooms
        .page(
            &view,
            user,
            room,
            (None, None),
            Direction::Backward,
            NEWEST,
            |_| true,
        )
        .await?;
    newest.events.reverse();
    // Anew: where other servers filled a gap, the page holds what an earlier view lacks.
    let later = app.store.view().await?;
    let member = app.rooms.membership(&view, user, room).await?;
    let is_published = app.rooms.is_published(&view, room).await?;
    let own = match member.as_ref().map(|member| member.membership) {
        Some(Membership::Join) => account_data(&app, &view, &session, room).await?,
        _ => Vec::new(),
    };
    Ok(Json(Room {
        room_id: room.clone(),
        membership: member.map(|member| member.membership.as_str()),
        visibility: if is_published { "public" } else { "private" },
        state: state
            .iter()
            .map(|event| show::plain(&app, &session, event))
            .collect(),
        messages: Messages {
            chunk: show::timeline(&app, &later, &session, &newest.events).await?,
            start: newest.end.map(|place| place.to_string()),
            end: hearth_sync::Token::at(view.position()).to_string(),
        },
        account_data: own,
    }))
}

async fn account_data(
    app: &App,
    view: &hearth_store::View,
    session: &Session,
    room: &ruma::RoomId,
) -> Result<Vec<Datum>, Error> {
    let all = app
        .users
        .account_data_since(
            view,
            &session.user_id,
            hearth_store::Position::ZERO,
            view.position(),
        )
        .await?;
    let of_room = all
        .into_iter()
        .filter(|datum| datum.room.as_deref() == Some(room));
    let shown = of_room.map(|datum| Datum {
        kind: datum.kind,
        content: datum.content,
    });
    Ok(shown.collect())
}
