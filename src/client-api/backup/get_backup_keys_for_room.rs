//! `GET /_matrix/client/v3/room_keys/keys/{roomId}`

use hearth_users::{BackupPart, Session};
use ruma::api::client::backup::get_backup_keys_for_room::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn get_backup_keys_for_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let part = BackupPart::Room(&request.room_id);
    let mut keys = app
        .users
        .backup_keys(&session.user_id, &request.version, part)
        .await?;
    Ok(Response::new(
        keys.remove(&request.room_id).unwrap_or_default(),
    ))
}
