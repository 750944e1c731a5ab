//! `PUT /_matrix/client/v3/room_keys/keys/{roomId}`

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::api::client::backup::add_backup_keys_for_room::v3::{Request, Response};

use super::count;
use crate::{App, error::Error};

pub(super) async fn add_backup_keys_for_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let keys = BTreeMap::from([(request.room_id, request.sessions)]);
    let size = app
        .users
        .put_backup_keys(&session.user_id, &request.version, &keys)
        .await?;
    Ok(Response::new(size.etag.clone(), count(&size)))
}
