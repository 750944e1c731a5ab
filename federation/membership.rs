//! Users of other servers in rooms of this one, and invites for users of this server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#joining-rooms>

use hearth_protocol::RoomVersion;
use ruma::RoomVersionId;

use crate::routes::Routes;

mod create_invite;
mod create_join_event;
mod create_knock_event;
mod create_leave_event;
mod first_version;
mod prepare_join_event;
mod prepare_knock_event;
mod prepare_leave_event;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .server(create_invite::create_invite)
        .server(create_join_event::create_join_event)
        .server(create_knock_event::create_knock_event)
        .server(create_leave_event::create_leave_event)
        .event(
            "/_matrix/federation/v1/send_join/{room}/{event}",
            first_version::send_join,
        )
        .event(
            "/_matrix/federation/v1/send_leave/{room}/{event}",
            first_version::send_leave,
        )
        .event(
            "/_matrix/federation/v1/invite/{room}/{event}",
            first_version::invite,
        )
        .server(prepare_join_event::prepare_join_event)
        .server(prepare_knock_event::prepare_knock_event)
        .server(prepare_leave_event::prepare_leave_event)
}

/// The versions that this server knows, of those that another does.
fn known(versions: &[RoomVersionId]) -> Vec<RoomVersion> {
    versions
        .iter()
        .filter_map(|id| RoomVersion::parse(id.as_str()))
        .collect()
}
