//! Owns which rooms a space holds, and their order.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#mspacechild>

use std::sync::Arc;

use hearth_rooms::StoredEvent;
use hearth_store::View;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, RoomId, UserId,
    events::space::child::HierarchySpaceChildEvent, serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{App, error::Error};

/// The longest `order` that counts.
const LONGEST_ORDER: usize = 50;

/// How many servers that know a room are kept.
const MOST_SERVERS: usize = 3;

/// How many rooms of a space of another server are looked at.
const MOST_CHILDREN: usize = 1000;

/// A room in a space, as the space's `m.space.child` says.
pub(super) struct Child {
    pub(super) room: OwnedRoomId,
    /// Servers that know it, a few at most.
    pub(super) via: Vec<OwnedServerName>,
    pub(super) shown: Raw<HierarchySpaceChildEvent>,
    order: Option<String>,
    at: MilliSecondsSinceUnixEpoch,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    via: Vec<String>,
    order: Option<serde_json::Value>,
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

/// The rooms that `space` holds, in their order; without those that nobody could join (no `via`).
pub(super) async fn children(
    app: &App,
    view: &View,
    space: &RoomId,
    suggested_only: bool,
) -> Result<Vec<Child>, Error> {
    let Some(head) = app.rooms.head(view, space).await? else {
        return Ok(Vec::new());
    };
    let events = app
        .rooms
        .full_state(view, &head, head.state, Some("m.space.child"))
        .await?;
    let children = events
        .iter()
        .filter_map(|event| child(event, suggested_only));
    Ok(ordered(children.collect()))
}

/// The rooms that a space of another server holds, as that server tells, in their order.
pub(super) fn told_children(
    told: &[Raw<HierarchySpaceChildEvent>],
    suggested_only: bool,
) -> Vec<Child> {
    #[derive(Deserialize)]
    struct Told {
        content: Content,
        origin_server_ts: MilliSecondsSinceUnixEpoch,
        state_key: OwnedRoomId,
    }
    let children = told.iter().take(MOST_CHILDREN).filter_map(|event| {
        let told: Told = event.deserialize_as_unchecked().ok()?;
        let (room, at) = (told.state_key, told.origin_server_ts);
        new_child(room, at, told.content, event.clone(), suggested_only)
    });
    ordered(children.collect())
}

fn ordered(mut children: Vec<Child>) -> Vec<Child> {
    // Those with an order first, then by age, then by name, so that all clients agree.
    children.sort_by(|a, b| {
        let key = |child: &Child| (child.order.is_none(), child.order.clone(), child.at);
        key(a).cmp(&key(b)).then_with(|| a.room.cmp(&b.room))
    });
    children
}

fn child(event: &Arc<StoredEvent>, suggested_only: bool) -> Option<Child> {
    let pdu = &event.pdu;
    let content: Content = serde_json::from_str(pdu.content().get()).ok()?;
    let room = RoomId::parse(pdu.state_key()?).ok()?;
    let shown = to_raw_value(&Shown {
        content: pdu.content(),
        origin_server_ts: pdu.origin_server_ts(),
        sender: pdu.sender(),
        state_key: &room,
        event_type: pdu.event_type(),
    })
    .ok()?;
    let shown = Raw::from_json(shown);
    new_child(room, pdu.origin_server_ts(), content, shown, suggested_only)
}

fn new_child(
    room: OwnedRoomId,
    at: MilliSecondsSinceUnixEpoch,
    content: Content,
    shown: Raw<HierarchySpaceChildEvent>,
    suggested_only: bool,
) -> Option<Child> {
    if content.via.is_empty() || (suggested_only && !content.suggested) {
        return None;
    }
    let via = content.via.into_iter();
    Some(Child {
        via: via
            .filter_map(|server| server.try_into().ok())
            .take(MOST_SERVERS)
            .collect(),
        shown,
        order: content.order.as_ref().and_then(order),
        at,
        room,
    })
}

/// An order that follows the grammar: at most 50 printable ASCII characters.
fn order(order: &serde_json::Value) -> Option<String> {
    let order = order.as_str()?;
    let printable = order.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
    (order.len() <= LONGEST_ORDER && printable).then(|| order.to_owned())
}
