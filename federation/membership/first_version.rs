//! `PUT /_matrix/federation/v1/send_join/…`, `…/send_leave/…` and `…/invite/…`: older forms, whose answers are wrapped in a
//! list with the status.

use hearth_protocol::{RoomVersion, federation_json};
use hearth_rooms::{Membership, RemoteInvite};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::create_invite;
use crate::{Error, Federation};

type Named = (OwnedRoomId, OwnedEventId);

pub(super) async fn send_join(
    federation: Federation,
    origin: OwnedServerName,
    (room, event): Named,
    json: Box<RawValue>,
) -> Result<Value, Error> {
    let admitted = federation
        .rooms
        .admit(&origin, &room, &event, &json, Membership::Join, false)
        .await?;
    let events = |events: &[std::sync::Arc<hearth_rooms::StoredEvent>]| -> Vec<Box<RawValue>> {
        events
            .iter()
            .map(|event| federation_json(&event.pdu))
            .collect()
    };
    Ok(json!([200, {
        "state": events(&admitted.state.state),
        "auth_chain": events(&admitted.state.auth_chain),
    }]))
}

pub(super) async fn send_leave(
    federation: Federation,
    origin: OwnedServerName,
    (room, event): Named,
    json: Box<RawValue>,
) -> Result<Value, Error> {
    federation
        .rooms
        .admit(&origin, &room, &event, &json, Membership::Leave, false)
        .await?;
    Ok(json!([200, {}]))
}

/// Rooms of the first two versions alone are invited to in this form.
pub(super) async fn invite(
    federation: Federation,
    origin: OwnedServerName,
    (room_id, event_id): Named,
    event: Box<RawValue>,
) -> Result<Value, Error> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        unsigned: Unsigned,
    }
    #[derive(Default, Deserialize)]
    struct Unsigned {
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
    }
    let told: Event =
        serde_json::from_str(event.get()).map_err(|e| Error::bad_json(e.to_string()))?;
    let invite = RemoteInvite {
        room_id,
        event_id,
        version: RoomVersion::ALL[0],
        event,
        shown: told.unsigned.invite_room_state,
    };
    let signed = create_invite::take(&federation, &origin, invite).await?;
    Ok(json!([200, { "event": federation_json(&signed) }]))
}
