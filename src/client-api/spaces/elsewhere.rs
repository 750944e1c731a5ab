//! Owns asking other servers for rooms of a space in which this server is not. Must never ask without a bound, nor believe
//! that the caller may see what they tell: whoever asks judges that.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#spaces>

use std::collections::BTreeMap;

use hearth_rooms::Rooms;
use ruma::{
    OwnedRoomId, OwnedServerName, RoomId,
    events::space::child::HierarchySpaceChildEvent,
    room::{RoomSummary, RoomType},
    serde::Raw,
};

/// How often other servers are asked in one walk.
const MOST_ASKED: usize = 30;
/// How many rooms are remembered that a server told of beside the one it was asked for.
const MOST_TOLD: usize = 2000;

/// A room and what it holds, as a server tells.
type Told = (RoomSummary, Vec<Raw<HierarchySpaceChildEvent>>);

/// What other servers told in one walk.
#[derive(Default)]
pub(super) struct Elsewhere {
    asked: usize,
    told: BTreeMap<OwnedRoomId, RoomSummary>,
}

impl Elsewhere {
    /// The room, as the first of the servers tells that answers.
    pub(super) async fn look(
        &mut self,
        rooms: &Rooms,
        (room, via, suggested_only): (&RoomId, &[OwnedServerName], bool),
    ) -> Option<Told> {
        if let Some(summary) = self.told.get(room)
            && summary.room_type != Some(RoomType::Space)
        {
            return Some((summary.clone(), Vec::new()));
        }
        let remote = rooms.remote().ok()?;
        for server in via.iter().filter(|server| *server != rooms.server_name()) {
            if self.asked >= MOST_ASKED {
                return None;
            }
            self.asked += 1;
            let answer = match remote.hierarchy(server, room, suggested_only).await {
                Ok(answer) if answer.room.summary.room_id == room => answer,
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(%room, %server, %error, "a space is not told of");
                    continue;
                }
            };
            for child in answer.children {
                if self.told.len() < MOST_TOLD {
                    self.told.insert(child.room_id.clone(), child);
                }
            }
            return Some((answer.room.summary, answer.room.children_state));
        }
        None
    }
}
