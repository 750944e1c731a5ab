//! `GET /_matrix/client/v3/directory/list/room/{roomId}`

use ruma::api::client::{
    directory::get_room_visibility::v3::{Request, Response},
    room::Visibility,
};

use crate::{App, error::Error};

pub(super) async fn get_room_visibility(app: App, request: Request) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let room = &request.room_id;
    let visibility = if app.rooms.is_published(&view, room).await? {
        Visibility::Public
    } else {
        Visibility::Private
    };
    Ok(Response::new(visibility))
}
