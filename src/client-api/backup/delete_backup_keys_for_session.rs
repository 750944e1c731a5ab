//! `DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`

use hearth_users::{BackupPart, Session};
use ruma::api::client::backup::delete_backup_keys_for_session::v3::{Request, Response};

use super::count;
use crate::{App, error::Error};

pub(super) async fn delete_backup_keys_for_session(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let part = BackupPart::Session(&request.room_id, &request.session_id);
    let size = app
        .users
        .delete_backup_keys(&session.user_id, &request.version, part)
        .await?;
    Ok(Response::new(size.etag.clone(), count(&size)))
}
