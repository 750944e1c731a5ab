//! `POST /_matrix/client/v3/rooms/{roomId}/upgrade`

use hearth_users::Session;
use ruma::api::client::room::upgrade_room::v3::{Request, Response};

use super::create_room::version;
use crate::{App, error::Error, faces, succession};

pub(super) async fn upgrade_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let version = version(&request.new_version)?;
    let profile = faces::face(&app, &session.user_id).await?;
    let replacement = app
        .rooms
        .upgrade(
            &request.room_id,
            &session.user_id,
            profile,
            version,
            request.additional_creators,
        )
        .await?;
    succession::carry_over(&app, &session.user_id, &replacement).await;
    Ok(Response::new(replacement))
}
