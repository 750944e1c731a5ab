//! `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`

use hearth_protocol::{Pdu, RoomVersion, federation_json};
use hearth_rooms::RemoteInvite;
use http::StatusCode;
use ruma::{
    OwnedServerName, ServerName,
    api::federation::membership::create_invite::v2::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn create_invite(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let version = RoomVersion::parse(request.room_version.as_str()).ok_or_else(|| {
        let (status, message) = (
            StatusCode::BAD_REQUEST,
            "this room version is not known here",
        );
        Error::new(status, "M_INCOMPATIBLE_ROOM_VERSION", message)
            .with("room_version", request.room_version.as_str())
    })?;
    let invite = RemoteInvite {
        room_id: request.room_id,
        event_id: request.event_id,
        version,
        event: request.event,
        shown: request
            .invite_room_state
            .iter()
            .filter_map(|event| serde_json::value::to_raw_value(event).ok())
            .collect(),
    };
    let signed = take(&federation, &origin, invite).await?;
    Ok(Response::new(federation_json(&signed)))
}

/// Takes an invite, if its user is there; gives it with this server's signature.
pub(super) async fn take(
    federation: &Federation,
    origin: &ServerName,
    invite: RemoteInvite,
) -> Result<Pdu, Error> {
    let invitee = invite.invitee()?;
    let view = federation.store.view().await?;
    let account = federation.users.account(&view, &invitee).await?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(Error::not_found("there is no such user"));
    }
    if federation.users.blocks_invites(&view, &invitee).await? {
        let message = "this user does not want to be invited";
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            "M_INVITE_BLOCKED",
            message,
        ));
    }
    drop(view);
    Ok(federation.rooms.take_invite(origin, invite).await?)
}
