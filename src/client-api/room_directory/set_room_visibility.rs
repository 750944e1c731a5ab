//! `PUT /_matrix/client/v3/directory/list/room/{roomId}`

use hearth_users::Session;
use ruma::api::client::{
    directory::set_room_visibility::v3::{Request, Response},
    room::Visibility,
};

use crate::{App, error::Error};

pub(super) async fn set_room_visibility(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let public = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(Error::invalid_param("visibility is public or private")),
    };
    app.rooms
        .set_visibility(&request.room_id, &session.user_id, session.admin, public)
        .await?;
    Ok(Response::new())
}
