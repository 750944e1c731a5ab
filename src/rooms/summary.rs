//! Owns what a room tells of itself to those outside: for the public directory, previews and spaces. Must never tell more
//! than its current state.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use hearth_protocol::RoomVersion;
use hearth_store::View;
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;

use crate::{Error, Head, Rooms};

/// A room as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersion,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its canonical alias.
    pub canonical_alias: Option<String>,
    /// An `mxc://` address.
    pub avatar_url: Option<String>,
    /// Its type, for example `m.space`.
    pub room_type: Option<String>,
    /// Its join rule, `invite` by default.
    pub join_rule: String,
    /// The rooms whose members may join, where the join rule is about them.
    pub allowed_room_ids: Vec<OwnedRoomId>,
    /// How it is encrypted.
    pub encryption: Option<String>,
    /// How many users are joined.
    pub joined: u64,
    /// Whether everybody may read it.
    pub world_readable: bool,
    /// Whether guests may join.
    pub guest_can_join: bool,
}

impl Rooms {
    /// What the room tells of itself; nothing for an unknown room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn summary(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Option<RoomSummary>, Error> {
        let Some(head) = self.head(view, room_id).await? else {
            return Ok(None);
        };
        let text = async |event_type: &str, field: &str| -> Result<Option<String>, Error> {
            let content = self.content(view, &head, event_type).await?;
            Ok(content[field]
                .as_str()
                .map(ToOwned::to_owned)
                .filter(|t| !t.is_empty()))
        };
        let rules = self.content(view, &head, "m.room.join_rules").await?;
        let allow = rules["allow"].as_array().cloned().unwrap_or_default();
        Ok(Some(RoomSummary {
            room_id: room_id.to_owned(),
            version: head.version,
            name: text("m.room.name", "name").await?,
            topic: text("m.room.topic", "topic").await?,
            canonical_alias: text("m.room.canonical_alias", "alias").await?,
            avatar_url: text("m.room.avatar", "url").await?,
            room_type: text("m.room.create", "type").await?,
            join_rule: rules["join_rule"].as_str().unwrap_or("invite").to_owned(),
            allowed_room_ids: allow
                .iter()
                .filter_map(|allow| RoomId::parse(allow["room_id"].as_str()?).ok())
                .collect(),
            encryption: text("m.room.encryption", "algorithm").await?,
            joined: head.joined,
            world_readable: self.is_open_to_all(view, &head).await?,
            guest_can_join: text("m.room.guest_access", "guest_access")
                .await?
                .as_deref()
                == Some("can_join"),
        }))
    }

    async fn content(&self, view: &View, head: &Head, event_type: &str) -> Result<Value, Error> {
        let event = self
            .state_event(view, head, head.state, event_type, "")
            .await?;
        Ok(event
            .and_then(|event| serde_json::from_str(event.pdu.content().get()).ok())
            .unwrap_or_default())
    }
}
