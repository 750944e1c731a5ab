//! Owns invites of people of whom an address was all that was known: what becomes of one when an identity server has said whose
//! the address is. Must never decide whether it did: the auth rules of the room check the signature.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#third-party-invites>

use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Act, Error, MemberChange, Refusal, Rooms};

/// An invite of an address, and the user whose address it is.
#[derive(Clone, Debug)]
pub struct AddressInvite {
    /// Where to.
    pub room_id: OwnedRoomId,
    /// The user of this server who invited the address.
    pub sender: OwnedUserId,
    /// Whose it is.
    pub invitee: OwnedUserId,
    /// What an identity server signed: `mxid`, `token`, `signatures`.
    pub signed: Value,
}

impl Rooms {
    /// Invites the user whose address was invited.
    ///
    /// # Errors
    /// `Refused` (`InvalidParam`, `BadJson`) when this server cannot do it or nothing is signed, `NotFound` for a room that is
    /// not known, `Forbidden` when the room has no such invite or does not believe the identity server, or the user is in the
    /// room; those of inviting.
    pub async fn invite_by_address(&self, invite: AddressInvite) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Signed {
            token: String,
        }
        #[derive(Deserialize)]
        struct Pending {
            #[serde(default)]
            display_name: String,
        }
        if !self.is_local(&invite.sender) {
            let reason = "who invited is not a user of this server";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        let Signed { token } = Signed::deserialize(&invite.signed)
            .map_err(|e| Error::refused(Refusal::BadJson, format!("what is signed: {e}")))?;
        let view = self.0.store.view().await?;
        let head = self
            .head(&view, &invite.room_id)
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))?;
        let pending = self
            .state_event(
                &view,
                &head,
                head.state,
                "m.room.third_party_invite",
                &token,
            )
            .await?
            .ok_or_else(|| Error::forbidden("the room does not have this invite"))?;
        let pending: Pending = serde_json::from_str(pending.pdu.content().get())
            .map_err(|_| Error::forbidden("the invite was taken back"))?;
        drop(view);
        let proof = json!({ "display_name": pending.display_name, "signed": invite.signed });
        let change = MemberChange {
            third_party_invite: Some(proof),
            ..MemberChange::of(invite.room_id, invite.sender, invite.invitee, Act::Invite)
        };
        self.change_membership(change).await.map(|_| ())
    }
}
