//! `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`

use hearth_users::Session;
use ruma::{
    api::client::state::get_state_event_for_key::v3::{Request, Response, StateEventFormat},
    events::AnyStateEvent,
};

use crate::{App, error::Error, show};

pub(super) async fn get_state_event_for_key(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (room, event_type) = (&request.room_id, request.event_type.to_string());
    let mut view = app.store.view().await?;
    if event_type == "m.room.member" && app.rooms.is_joined(&view, &session.user_id, room).await? {
        drop(view);
        app.rooms.await_member(room, &request.state_key).await?;
        view = app.store.view().await?;
    }
    let event = app
        .rooms
        .readable_state_event(
            &view,
            &session.user_id,
            room,
            &event_type,
            &request.state_key,
        )
        .await?;
    Ok(Response::new(match request.format {
        StateEventFormat::Event => show::plain::<AnyStateEvent>(&app, &session, &event).into_json(),
        _ => event.pdu.content().to_owned(),
    }))
}
