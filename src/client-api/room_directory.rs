//! Aliases of rooms, and the list of public ones.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-aliases> and
//! <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, RoomOrAliasId};

use crate::{App, error::Error, routes::Routes};

mod aliases;
mod create_alias;
mod delete_alias;
mod get_alias;
mod get_public_rooms;
mod get_public_rooms_filtered;
mod get_room_visibility;
mod published;
mod set_room_visibility;

/// How many servers of a room are named beside its alias.
const MAX_SERVERS: usize = 500;

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(aliases::aliases)
        .user(create_alias::create_alias)
        .user(delete_alias::delete_alias)
        .open(get_alias::get_alias)
        .open(get_public_rooms::get_public_rooms)
        .user(get_public_rooms_filtered::get_public_rooms_filtered)
        .open(get_room_visibility::get_room_visibility)
        .user(set_room_visibility::set_room_visibility)
}

/// The room that is meant, and servers in it, as far as an alias tells.
///
/// # Errors
/// 404 `M_NOT_FOUND` if the alias leads nowhere.
pub(crate) async fn resolve(
    app: &App,
    room: &RoomOrAliasId,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), Error> {
    match <&RoomAliasId>::try_from(room) {
        Ok(alias) => resolve_alias(app, alias).await,
        Err(_) => OwnedRoomId::try_from(room.to_owned())
            .map(|room| (room, Vec::new()))
            .map_err(|_| Error::invalid_param("neither a room id nor an alias")),
    }
}

/// The room that `alias` leads to, and servers in it.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there is none.
pub(crate) async fn resolve_alias(
    app: &App,
    alias: &RoomAliasId,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), Error> {
    let own = &app.settings.server_name;
    if alias.server_name() != own
        && let Ok(remote) = app.rooms.remote()
    {
        let asked = remote.resolve_alias(alias).await;
        return Ok(asked.map_err(hearth_rooms::Error::from)?);
    }
    let view = app.store.view().await?;
    let found = app.rooms.resolve_alias(&view, alias).await?;
    let (room, _) = found.ok_or_else(|| Error::not_found("no room has this alias"))?;
    let mut servers = app.rooms.servers(&view, &room, MAX_SERVERS).await?;
    servers.retain(|server| server != own);
    servers.insert(0, own.clone());
    Ok((room, servers))
}
