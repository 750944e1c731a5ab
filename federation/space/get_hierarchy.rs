//! `GET /_matrix/federation/v1/hierarchy/{roomId}`

use hearth_store::View;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId,
    api::federation::space::{
        SpaceHierarchyParentSummary,
        get_hierarchy::v1::{Request, Response},
    },
    room::{JoinRuleSummary, RoomSummary},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, Federation};

/// How many rooms of a space are told of.
const MAX_CHILDREN: usize = 100;

/// How many rooms of a restricted room's list are looked at.
const MAX_ALLOWING: usize = 50;

pub(super) async fn get_hierarchy(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let space = federation.rooms.summary(&view, &request.room_id).await?;
    let space = space.map(hearth_rooms::RoomSummary::shown);
    let missing = || Error::not_found("there is no such space, or not for your server");
    let space = space.ok_or_else(missing)?;
    if !may_know(&federation, &view, &origin, &space).await? {
        return Err(missing());
    }
    let (children, shown) =
        children(&federation, &view, &request.room_id, request.suggested_only).await?;
    let mut response = Response::new(SpaceHierarchyParentSummary::new(space, shown));
    for child in children {
        // One that is not known here may be known elsewhere, and is left out.
        let Some(summary) = federation.rooms.summary(&view, &child).await? else {
            continue;
        };
        let summary = summary.shown();
        match may_know(&federation, &view, &origin, &summary).await? {
            true => response.children.push(summary),
            false => response.inaccessible_children.push(child),
        }
    }
    Ok(response)
}

/// Whether a server may know of a room: it is open to all, or it or a room whose members may join has users of the server.
async fn may_know(
    federation: &Federation,
    view: &View,
    origin: &ServerName,
    summary: &RoomSummary,
) -> Result<bool, Error> {
    let allowing: &[OwnedRoomId] = match &summary.join_rule {
        _ if summary.world_readable => return Ok(true),
        JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_) => {
            return Ok(true);
        }
        JoinRuleSummary::Restricted(restricted) => &restricted.allowed_room_ids,
        _ => &[],
    };
    let own = std::iter::once(&summary.room_id);
    for room in own.chain(allowing.iter().take(MAX_ALLOWING)) {
        if federation
            .rooms
            .is_server_in_room(view, origin, room)
            .await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rooms that a space holds and the events that say so; without those that nobody could join (no `via`).
async fn children<T>(
    federation: &Federation,
    view: &View,
    space: &RoomId,
    suggested_only: bool,
) -> Result<(Vec<OwnedRoomId>, Vec<Raw<T>>), Error> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        via: Vec<OwnedServerName>,
        #[serde(default)]
        suggested: bool,
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        content: &'a RawValue,
        origin_server_ts: MilliSecondsSinceUnixEpoch,
        sender: &'a UserId,
        state_key: &'a RoomId,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    let Some(head) = federation.rooms.head(view, space).await? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let events = federation
        .rooms
        .full_state(view, &head, head.state, Some("m.space.child"))
        .await?;
    let (mut rooms, mut shown) = (Vec::new(), Vec::new());
    for event in events {
        let pdu = &event.pdu;
        let Ok(content) = serde_json::from_str::<Content>(pdu.content().get()) else {
            continue;
        };
        let Some(room) = pdu.state_key().and_then(|key| RoomId::parse(key).ok()) else {
            continue;
        };
        if content.via.is_empty() || (suggested_only && !content.suggested) {
            continue;
        }
        let form = Shown {
            content: pdu.content(),
            origin_server_ts: pdu.origin_server_ts(),
            sender: pdu.sender(),
            state_key: &room,
            event_type: pdu.event_type(),
        };
        shown.push(Raw::from_json(
            to_raw_value(&form).map_err(|e| Error::internal(&e))?,
        ));
        rooms.push(room);
        if rooms.len() == MAX_CHILDREN {
            break;
        }
    }
    Ok((rooms, shown))
}
