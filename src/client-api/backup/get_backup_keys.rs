//! `GET /_matrix/client/v3/room_keys/keys`

use hearth_users::{BackupPart, Session};
use ruma::api::client::backup::{
    RoomKeyBackup,
    get_backup_keys::v3::{Request, Response},
};

use crate::{App, error::Error};

pub(super) async fn get_backup_keys(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let keys = app
        .users
        .backup_keys(&session.user_id, &request.version, BackupPart::All)
        .await?;
    let rooms = keys
        .into_iter()
        .map(|(room, sessions)| (room, RoomKeyBackup::new(sessions)));
    Ok(Response::new(rooms.collect()))
}
