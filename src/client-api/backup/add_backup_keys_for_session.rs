//! `PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`

use std::collections::BTreeMap;

use hearth_users::Session;
use ruma::api::client::backup::add_backup_keys_for_session::v3::{Request, Response};

use super::count;
use crate::{App, error::Error};

pub(super) async fn add_backup_keys_for_session(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let sessions = BTreeMap::from([(request.session_id, request.session_data)]);
    let keys = BTreeMap::from([(request.room_id, sessions)]);
    let size = app
        .users
        .put_backup_keys(&session.user_id, &request.version, &keys)
        .await?;
    Ok(Response::new(size.etag.clone(), count(&size)))
}
