//! Owns the step from what `rooms` tells of a room to the form of clients. Must never ask whether somebody may know it:
//! the caller does.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-summaries>

use hearth_store::View;
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, RoomId, UInt,
    room::{JoinRuleSummary, RestrictedSummary, RoomSummary},
};

use crate::{App, error::Error};

/// The summary of `room` as it stands in `view`; `None` if this server does not know the room.
pub(crate) async fn summary(
    app: &App,
    view: &View,
    room: &RoomId,
) -> Result<Option<RoomSummary>, Error> {
    let Some(told) = app.rooms.summary(view, room).await? else {
        return Ok(None);
    };
    let mut summary = RoomSummary::new(
        told.room_id,
        join_rule(&told.join_rule, told.allowed_room_ids),
        told.guest_can_join,
        UInt::try_from(told.joined).unwrap_or(UInt::MAX),
        told.world_readable,
    );
    summary.name = told.name;
    summary.topic = told.topic;
    summary.avatar_url = told.avatar_url.map(OwnedMxcUri::from);
    summary.canonical_alias = told
        .canonical_alias
        .and_then(|alias| OwnedRoomAliasId::try_from(alias).ok());
    summary.room_type = told.room_type.map(Into::into);
    summary.encryption = told.encryption.map(Into::into);
    summary.room_version = Some(told.version.id().clone());
    Ok(Some(summary))
}

/// A rule that clients may not know is shown as the strictest one that they do.
fn join_rule(rule: &str, allowed: Vec<ruma::OwnedRoomId>) -> JoinRuleSummary {
    match rule {
        "public" => JoinRuleSummary::Public,
        "knock" => JoinRuleSummary::Knock,
        "private" => JoinRuleSummary::Private,
        "restricted" => JoinRuleSummary::Restricted(RestrictedSummary::new(allowed)),
        "knock_restricted" => JoinRuleSummary::KnockRestricted(RestrictedSummary::new(allowed)),
        _ => JoinRuleSummary::Invite,
    }
}
