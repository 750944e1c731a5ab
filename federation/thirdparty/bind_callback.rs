//! `PUT /_matrix/federation/v1/3pid/onbind`

use futures_util::{StreamExt as _, stream};
use hearth_rooms::AddressInvite;
use ruma::{
    api::federation::thirdparty::{
        bind_callback::v1::{Request, Response, ThirdPartyInvite},
        exchange_invite,
    },
    serde::Raw,
};
use serde_json::{json, value::to_raw_value};

use crate::{Error, Federation, reach::Manner};

/// How many invites of one address are looked at.
const MAX_INVITES: usize = 100;

/// How many servers are asked at once.
const AT_ONCE: usize = 4;

/// Anybody may say whose an address is: an invite comes of it only if its room, which knows the identity server, believes it.
pub(super) async fn bind_callback(
    federation: Federation,
    request: Request,
) -> Result<Response, Error> {
    let user = &request.mxid;
    if !federation.rooms.is_local(user) {
        return Err(Error::invalid_param("the user is not one of this server"));
    }
    let view = federation.store.view().await?;
    let account = federation.users.account(&view, user).await?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(Error::not_found("there is no such user"));
    }
    drop(view);
    // Those who need not prove who they are share one server's due.
    let _turn = federation.origins().admit(user.server_name()).await?;
    let invites = request.invites.into_iter().take(MAX_INVITES);
    stream::iter(invites.filter(|invite| invite.mxid == *user))
        .for_each_concurrent(AT_ONCE, |invite| {
            let federation = &federation;
            async move {
                let (room_id, sender) = (invite.room_id.clone(), invite.sender.clone());
                match redeem(federation, invite).await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::info!(%room_id, %sender, ?error, "an invite of an address came to nothing");
                    }
                }
            }
        })
        .await;
    Ok(Response::new())
}

/// Has the invite made by the server of who invited.
async fn redeem(federation: &Federation, invite: ThirdPartyInvite) -> Result<(), Error> {
    if federation.rooms.is_local(&invite.sender) {
        let signed = serde_json::from_str(invite.signed.json().get());
        let invite = AddressInvite {
            room_id: invite.room_id,
            sender: invite.sender,
            invitee: invite.mxid,
            signed: signed.map_err(|e| Error::bad_json(e.to_string()))?,
        };
        return Ok(federation.rooms.invite_by_address(invite).await?);
    }
    // What the invitee is to be called stands in the room, for who is in it.
    let content = json!({
        "membership": "invite",
        "third_party_invite": { "display_name": invite.mxid, "signed": invite.signed },
    });
    let content = to_raw_value(&content).map_err(|e| Error::bad_json(e.to_string()))?;
    let server = invite.sender.server_name().to_owned();
    let (room_id, content) = (invite.room_id, Raw::from_json(content));
    let request = exchange_invite::v1::Request::new(room_id, invite.sender, invite.mxid, content);
    let asked = federation.peers.call(&server, request, Manner::BACKGROUND);
    match asked.await {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::unavailable(&error)),
    }
}
