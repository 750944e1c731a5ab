//! `GET /_matrix/federation/v1/query/directory`

use ruma::{
    OwnedServerName,
    api::federation::query::get_room_information::v1::{Request, Response},
};

use crate::{Error, Federation};

/// How many servers of the room are named at most.
const MAX_SERVERS: usize = 500;

pub(super) async fn get_room_information(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let found = federation
        .rooms
        .resolve_alias(&view, &request.room_alias)
        .await?;
    let (room_id, _) = found.ok_or_else(|| Error::not_found("there is no such alias"))?;
    let own = federation.peers.settings().server_name.clone();
    let mut servers = federation
        .rooms
        .servers(&view, &room_id, MAX_SERVERS)
        .await?;
    servers.retain(|server| *server != own);
    servers.insert(0, own);
    Ok(Response::new(room_id, servers))
}
