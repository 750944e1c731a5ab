//! `DELETE /_matrix/client/v3/room_keys/version/{version}`

use hearth_users::Session;
use ruma::api::client::backup::delete_backup_version::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn delete_backup_version(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.users
        .delete_backup(&session.user_id, &request.version)
        .await?;
    Ok(Response::new())
}
