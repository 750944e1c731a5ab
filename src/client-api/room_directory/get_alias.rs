//! `GET /_matrix/client/v3/directory/room/{roomAlias}`

use ruma::api::client::alias::get_alias::v3::{Request, Response};

use super::resolve_alias;
use crate::{App, error::Error};

pub(super) async fn get_alias(app: App, request: Request) -> Result<Response, Error> {
    let (room_id, servers) = resolve_alias(&app, &request.room_alias).await?;
    Ok(Response::new(room_id, servers))
}
