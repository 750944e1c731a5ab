//! `POST /_matrix/client/v3/room_keys/version`

use hearth_users::Session;
use ruma::api::client::backup::create_backup_version::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn create_backup_version(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let description = request.algorithm.json().get();
    let version = app
        .users
        .create_backup(&session.user_id, description)
        .await?;
    Ok(Response::new(version))
}
