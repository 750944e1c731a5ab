//! Owns how our users leave, or knock at, rooms in which this server is not. Must never keep an invite for a user who
//! declined it, whether the other server answers or not.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#leaving-rooms-rejecting-invites> and
//! <https://spec.matrix.org/latest/server-server-api/#knocking-upon-a-room>

use hearth_protocol::{Pdu, RoomVersion};
use hearth_store::View;
use ruma::{OwnedEventId, ServerName};

use super::invite::{MAX_SHOWN, stripped};
use crate::{Error, Member, MemberChange, Membership, Rooms};

impl Rooms {
    /// Declines an invite, or takes back a knock.
    pub(super) async fn leave_elsewhere(
        &self,
        view: &View,
        change: MemberChange,
    ) -> Result<OwnedEventId, Error> {
        let (room_id, user) = (&change.room_id, &change.target);
        let member = self.membership(view, user, room_id).await?;
        let Some(member) = member.filter(is_waiting) else {
            return Err(Error::not_found("there is no such room"));
        };
        for server in self.helpers(view, &change, &[]).await? {
            match self.leave_at(&server, &change).await {
                Ok((leave, version)) => {
                    let id = leave.event_id().to_owned();
                    self.remember_outside(&leave, version, Membership::Leave, None)
                        .await?;
                    return Ok(id);
                }
                Err(error) => {
                    tracing::info!(room = %room_id, %server, %error, "a server does not hear of a leave");
                }
            }
        }
        self.forget_outside(room_id, user, &member).await?;
        Ok(member.event_id)
    }

    async fn leave_at(
        &self,
        server: &ServerName,
        change: &MemberChange,
    ) -> Result<(Pdu, RoomVersion), Error> {
        let drafted = self.signed_draft(server, change, Membership::Leave).await?;
        self.remote()?.send_leave(server, &drafted.0).await?;
        Ok(drafted)
    }

    /// Knocks through a server.
    pub(super) async fn knock_at(
        &self,
        server: &ServerName,
        change: &MemberChange,
    ) -> Result<OwnedEventId, Error> {
        let (knock, version) = self.signed_draft(server, change, Membership::Knock).await?;
        let shown = self.remote()?.send_knock(server, &knock).await?;
        let id = knock.event_id().to_owned();
        let shown = shown
            .iter()
            .take(MAX_SHOWN)
            .filter_map(|event| stripped(event))
            .collect();
        self.remember_outside(&knock, version, Membership::Knock, Some(shown))
            .await?;
        Ok(id)
    }
}

fn is_waiting(member: &Member) -> bool {
    matches!(member.membership, Membership::Invite | Membership::Knock)
}
