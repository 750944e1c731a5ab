//! `GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`

use hearth_users::{BackupPart, Session};
use ruma::api::client::backup::get_backup_keys_for_session::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn get_backup_keys_for_session(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let part = BackupPart::Session(&request.room_id, &request.session_id);
    let mut keys = app
        .users
        .backup_keys(&session.user_id, &request.version, part)
        .await?;
    keys.remove(&request.room_id)
        .and_then(|mut sessions| sessions.remove(&request.session_id))
        .map(Response::new)
        .ok_or_else(|| Error::not_found("there is no such key"))
}
