//! Owns taking back invites over federation: the one event of a room in which this server is not that it takes in. Must
//! never let anybody but who invited end an invite.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#inviting-to-a-room>

use hearth_protocol::Pdu;
use hearth_store::View;
use ruma::{OwnedEventId, OwnedUserId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Membership, Rooms, membership_of};

impl Rooms {
    /// Takes an event of a room in which this server is not, if it takes back the invite of one of its users; gives its id
    /// if it does.
    pub(super) async fn take_back(
        &self,
        view: &View,
        room_id: &RoomId,
        json: &RawValue,
    ) -> Result<Option<OwnedEventId>, Error> {
        #[derive(Deserialize)]
        struct Departure {
            state_key: OwnedUserId,
            sender: OwnedUserId,
        }
        let Ok(departure) = serde_json::from_str::<Departure>(json.get()) else {
            return Ok(None);
        };
        let user = &departure.state_key;
        if !self.is_local(user) {
            return Ok(None);
        }
        let invited = self
            .membership(view, user, room_id)
            .await?
            .filter(|member| {
                member.membership == Membership::Invite && member.sender == departure.sender
            });
        let Some(invited) = invited else {
            return Ok(None);
        };
        let Some(invite) = self.event(view, &invited.event_id).await? else {
            return Ok(None);
        };
        let version = invite.version;
        let Ok(pdu) = Pdu::parse(json.get().as_bytes(), version) else {
            return Ok(None);
        };
        let ends_it = pdu.is("m.room.member", user.as_str())
            && membership_of(pdu.content().get()) == Membership::Leave;
        if !ends_it {
            return Ok(None);
        }
        let checked = self.remote()?.verify(vec![pdu], version).await?.pop();
        let Some(Ok(pdu)) = checked else {
            return Ok(None);
        };
        self.remember_outside(&pdu, version, Membership::Leave, None)
            .await?;
        Ok(Some(pdu.event_id().to_owned()))
    }
}
