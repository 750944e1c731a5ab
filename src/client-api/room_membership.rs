//! Who is in a room.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-membership>

use crate::routes::Routes;

mod ban_user;
mod forget_room;
mod get_mutual_rooms;
mod invite_user;
mod join_room_by_id;
mod join_room_by_id_or_alias;
mod joined_rooms;
mod joining;
mod kick_user;
mod knock_room;
mod leave_room;
mod unban_user;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(ban_user::ban_user)
        .user(forget_room::forget_room)
        .user(get_mutual_rooms::get_mutual_rooms)
        .user(invite_user::invite_user)
        .user(join_room_by_id::join_room_by_id)
        .user(join_room_by_id_or_alias::join_room_by_id_or_alias)
        .user(joined_rooms::joined_rooms)
        .user(kick_user::kick_user)
        .user(knock_room::knock_room)
        .user(leave_room::leave_room)
        .user(unban_user::unban_user)
}
