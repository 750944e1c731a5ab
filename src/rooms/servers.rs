//! Owns which servers take part in a room: those with a joined user. Must never be written but together with the
//! memberships that it counts.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#pdus>

use std::collections::HashSet;

use hearth_store::{Direction, Family, SCAN_LIMIT, Table, View};
use ruma::{OwnedServerName, RoomId, ServerName};

use crate::{Error, Rooms};

/// (room, server) to how many of its users are joined; zero for one whose users left.
pub(crate) const ROOM_SERVERS: Table<(String, String), i64> =
    Table::new(130, "room_servers", Family::Index);

/// (user, room): the joined users of other servers.
pub(crate) const REMOTE_JOINED: Table<(String, String), ()> =
    Table::new(140, "remote_joined", Family::Index);

/// A server of an index.
pub(crate) fn parse_server(server: String) -> Result<OwnedServerName, Error> {
    OwnedServerName::try_from(server)
        .map_err(|e| Error::corrupt(format!("an index names no server: {e}")))
}

impl Rooms {
    /// The servers with a joined user, this one included, `limit` at most, in no order that means anything. While the members
    /// of the room are not known, also those that were there when this server came.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn servers(
        &self,
        view: &View,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let prefix = (room_id.as_str(),);
        let found = view
            .scan_prefix(&ROOM_SERVERS, prefix, Direction::Forward, SCAN_LIMIT)
            .await?;
        let present = found.into_iter().filter(|(_, count)| *count > 0);
        let mut servers = present
            .take(limit)
            .map(|((_, server), _)| parse_server(server))
            .collect::<Result<Vec<_>, _>>()?;
        let mut named = self.named_servers(view, room_id, limit).await?;
        if !named.is_empty() {
            let counted: HashSet<&OwnedServerName> = servers.iter().collect();
            named.retain(|server| !counted.contains(server));
            servers.extend(named);
            servers.truncate(limit);
        }
        Ok(servers)
    }

    /// Whether the server has a joined user in the room; while its members are not known, also whether it had one when this
    /// server came.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_server_in_room(
        &self,
        view: &View,
        server: &ServerName,
        room_id: &RoomId,
    ) -> Result<bool, Error> {
        let count = view
            .get(&ROOM_SERVERS, (room_id.as_str(), server.as_str()))
            .await?;
        Ok(count.is_some_and(|count| count > 0) || self.is_named(view, server, room_id).await?)
    }
}
