//! `DELETE /_matrix/client/v3/room_keys/keys/{roomId}`

use hearth_users::{BackupPart, Session};
use ruma::api::client::backup::delete_backup_keys_for_room::v3::{Request, Response};

use super::count;
use crate::{App, error::Error};

pub(super) async fn delete_backup_keys_for_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let part = BackupPart::Room(&request.room_id);
    let size = app
        .users
        .delete_backup_keys(&session.user_id, &request.version, part)
        .await?;
    Ok(Response::new(size.etag.clone(), count(&size)))
}
