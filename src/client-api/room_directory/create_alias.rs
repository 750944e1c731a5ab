//! `PUT /_matrix/client/v3/directory/room/{roomAlias}`

use hearth_rooms::Refusal;
use hearth_users::Session;
use http::StatusCode;
use ruma::api::{
    client::alias::create_alias::v3::{Request, Response},
    error::ErrorKind,
};

use crate::{App, error::Error};

pub(super) async fn create_alias(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let set = app
        .rooms
        .set_alias(&request.room_alias, &request.room_id, &session.user_id)
        .await;
    match set {
        Ok(_) => Ok(Response::new()),
        // Here, and only here, the specification has a status of its own for it.
        Err(hearth_rooms::Error::Refused {
            kind: Refusal::RoomInUse,
            reason,
        }) => Err(Error::new(StatusCode::CONFLICT, ErrorKind::Unknown, reason)),
        Err(error) => Err(error.into()),
    }
}
