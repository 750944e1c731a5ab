//! `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`

use hearth_rooms::AddressInvite;
use ruma::{
    OwnedServerName,
    api::federation::thirdparty::exchange_invite::v1::{Request, Response},
    events::StateEventType,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Federation};

/// The content of the invite that is asked for.
#[derive(Deserialize)]
struct Content {
    membership: String,
    third_party_invite: Proof,
}

#[derive(Deserialize)]
struct Proof {
    signed: Value,
}

pub(super) async fn exchange_invite(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let content: Content = serde_json::from_str(request.content.json().get())
        .map_err(|e| Error::bad_json(format!("the content is no such invite: {e}")))?;
    if request.kind != StateEventType::RoomMember || content.membership != "invite" {
        return Err(Error::invalid_param("the event is no invite"));
    }
    let invite = AddressInvite {
        room_id: request.room_id,
        sender: request.sender,
        invitee: request.state_key,
        signed: content.third_party_invite.signed,
    };
    federation.rooms.invite_by_address(invite).await?;
    Ok(Response::new())
}
