//! Rooms that hold rooms, and what may be told of a room to somebody outside.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#spaces> and
//! <https://spec.matrix.org/latest/client-server-api/#room-summaries>

use hearth_rooms::Membership;
use hearth_store::View;
use ruma::{
    UserId,
    room::{JoinRuleSummary, RoomSummary},
};

use crate::{App, error::Error, routes::Routes};

mod children;
mod elsewhere;
mod get_hierarchy;
mod get_summary;

/// The endpoints of these chapters.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(get_hierarchy::get_hierarchy)
        .either(get_summary::get_summary)
}

/// Whether `user` (nobody, for a caller without a login) may know of the room: it is open to all, they may join it or
/// ask to, or they are or were invited or joined.
async fn may_preview(
    app: &App,
    view: &View,
    user: Option<&UserId>,
    summary: &RoomSummary,
) -> Result<bool, Error> {
    if summary.world_readable {
        return Ok(true);
    }
    let allowed = match &summary.join_rule {
        JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_) => {
            return Ok(true);
        }
        JoinRuleSummary::Restricted(restricted) => restricted.allowed_room_ids.as_slice(),
        _ => &[],
    };
    let Some(user) = user else {
        return Ok(false);
    };
    let member = app.rooms.membership(view, user, &summary.room_id).await?;
    if member
        .is_some_and(|member| matches!(member.membership, Membership::Join | Membership::Invite))
    {
        return Ok(true);
    }
    for room in allowed.iter().take(MOST_ALLOWED) {
        if app.rooms.is_joined(view, user, room).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rooms of a restricted join rule that are looked at.
const MOST_ALLOWED: usize = 50;
