//! `GET /_matrix/client/v3/room_keys/version`

use hearth_users::Session;
use ruma::api::client::backup::get_latest_backup_info::v3::{Request, Response};

use super::{count, description};
use crate::{App, error::Error};

pub(super) async fn get_latest_backup_info(
    app: App,
    session: Session,
    _: Request,
) -> Result<Response, Error> {
    let backup = app.users.backup(&session.user_id, None).await?;
    let description = description(&backup)?;
    let (count, etag) = (count(&backup.size), backup.size.etag);
    Ok(Response::new(description, count, etag, backup.version))
}
