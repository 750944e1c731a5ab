//! Owns how our users leave, or knock at, rooms in which this server is not. Must never keep an invite for a user who
//! declined it, whether the other server answers or not.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#leaving-rooms-rejecting-invites> and
//! <https://spec.matrix.org/latest/server-server-api/#knocking-upon-a-room>

use hearth_protocol::{MemberDraft, Pdu, RoomVersion, reference_hash, seal_template, strip};
use hearth_store::View;
use ruma::{OwnedEventId, ServerName};
use serde_json::{json, value::to_raw_value};

use super::invite::{MAX_SHOWN, stripped};
use crate::{Error, Member, MemberChange, Membership, Rooms, StoredEvent};

impl Rooms {
    /// Declines an invite, or takes back a knock.
    pub(super) async fn leave_elsewhere(
        &self,
        view: &View,
        change: MemberChange,
    ) -> Result<OwnedEventId, Error> {
        let (room_id, user) = (&change.room_id, &change.target);
        let member = self.membership(view, user, room_id).await?;
        if let Some(left) = &member
            && left.membership == Membership::Leave
        {
            return Ok(left.event_id.clone());
        }
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
        let Some(waiting) = self.event(view, &member.event_id).await? else {
            self.forget_outside(room_id, user, &member).await?;
            return Ok(member.event_id);
        };
        let leave = self.leave_alone(&change, &waiting)?;
        let id = leave.event_id().to_owned();
        self.remember_outside(&leave, waiting.version, Membership::Leave, None)
            .await?;
        Ok(id)
    }

    /// A leave of which no other server hears: it follows the invite or knock alone.
    fn leave_alone(&self, change: &MemberChange, waiting: &StoredEvent) -> Result<Pdu, Error> {
        let (pdu, version) = (&waiting.pdu, waiting.version);
        let bad = |e: serde_json::Error| Error::corrupt(format!("a leave is no JSON: {e}"));
        let before = match version.has_explicit_event_ids() {
            true => json!([[pdu.event_id(), { "sha256": reference_hash(pdu, version)? }]]),
            false => json!([pdu.event_id()]),
        };
        let template = json!({
            "prev_events": before,
            "auth_events": before,
            "depth": pdu.depth().next().0,
        });
        let mut content = json!({ "membership": "leave" });
        if let Some(reason) = &change.reason {
            content["reason"] = reason.as_str().into();
        }
        let draft = MemberDraft {
            room_id: change.room_id.clone(),
            user: change.target.clone(),
            content: to_raw_value(&content).map_err(bad)?,
            origin_server_ts: self.timestamp(),
            local_id: self.0.rng.opaque(24),
        };
        let template = to_raw_value(&template).map_err(bad)?;
        Ok(seal_template(&template, draft, version, &self.0.key)?)
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
        let mut shown: Vec<_> = shown
            .iter()
            .take(MAX_SHOWN)
            .filter_map(|event| stripped(event))
            .collect();
        shown.push(strip(&knock));
        self.remember_outside(&knock, version, Membership::Knock, Some(shown))
            .await?;
        Ok(id)
    }
}

fn is_waiting(member: &Member) -> bool {
    matches!(member.membership, Membership::Invite | Membership::Knock)
}
