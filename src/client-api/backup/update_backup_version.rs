//! `PUT /_matrix/client/v3/room_keys/version/{version}`

use hearth_users::Session;
use ruma::api::client::backup::update_backup_version::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn update_backup_version(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let description = request.algorithm.json().get();
    app.users
        .update_backup(&session.user_id, &request.version, description)
        .await?;
    Ok(Response::new())
}
