//! `PUT /_matrix/client/v3/room_keys/keys`

use hearth_users::Session;
use ruma::api::client::backup::add_backup_keys::v3::{Request, Response};

use super::count;
use crate::{App, error::Error};

pub(super) async fn add_backup_keys(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let rooms = request.rooms.into_iter();
    let keys = rooms
        .map(|(room, backup)| (room, backup.sessions))
        .collect();
    let size = app
        .users
        .put_backup_keys(&session.user_id, &request.version, &keys)
        .await?;
    Ok(Response::new(size.etag.clone(), count(&size)))
}
