//! Owns invites between servers: those that come for our users, and those that our users send. Must never sign an invite
//! that is not for a user of this server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#inviting-to-a-room>

use hearth_protocol::{Pdu, RoomVersion, countersign, federation_json, strip};
use hearth_store::{Batch, CommitError, Family, Json, Table, Topic, View};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Given, Received};
use crate::{
    Error, Head, Member, MemberChange, Membership, Refusal, Rooms, Root, StoredEvent,
    event::{EVENTS, EventRecord},
    known_rooms::note_moved,
    member::{MEMBERS, USER_ROOMS},
    membership_of,
    plan::{Plan, Proposal},
    queue::{MAX_TRIES, Work},
    snapshot::STRIPPED,
};

/// (room, user) to what a user outside is shown of a room of other servers, as stripped state.
pub(crate) const SHOWN_OUTSIDE: Table<(String, String), Json<Vec<Box<RawValue>>>> =
    Table::new(137, "shown_outside", Family::Records);

/// How many events a user is shown of a room that they are invited to.
pub(super) const MAX_SHOWN: usize = 100;

/// An invite that another server sends, its sender proven.
#[derive(Clone, Debug)]
pub struct RemoteInvite {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The id of the event.
    pub event_id: OwnedEventId,
    /// The version of the room.
    pub version: RoomVersion,
    /// The event.
    pub event: Box<RawValue>,
    /// What the user is shown of the room.
    pub shown: Vec<Box<RawValue>>,
}

impl RemoteInvite {
    /// The user who is invited, as far as the event can be read.
    ///
    /// # Errors
    /// `Malformed` or `Refused` (`InvalidParam`) when it is no invite.
    pub fn invitee(&self) -> Result<OwnedUserId, Error> {
        let pdu = self.parse()?;
        let user = pdu.state_key().and_then(|user| UserId::parse(user).ok());
        user.ok_or_else(|| Error::refused(Refusal::InvalidParam, "it invites nobody"))
    }

    fn parse(&self) -> Result<Pdu, Error> {
        let pdu = Pdu::parse(self.event.get().as_bytes(), self.version)?;
        let is_invite = pdu.event_type() == "m.room.member"
            && pdu.state_key().is_some()
            && membership_of(pdu.content().get()) == Membership::Invite;
        if !is_invite || pdu.room_id() != self.room_id || pdu.event_id() != self.event_id {
            let reason = "the event is not the invite that the path names";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        Ok(pdu)
    }
}

impl Rooms {
    /// Takes an invite for a user of this server, and signs it.
    ///
    /// # Errors
    /// `Refused` (`InvalidParam`) when it is no invite, `Forbidden` when it is not signed by who sends it, or the user is
    /// in the room.
    pub async fn take_invite(
        &self,
        origin: &ServerName,
        invite: RemoteInvite,
    ) -> Result<Pdu, Error> {
        let pdu = invite.parse()?;
        let user = invite.invitee()?;
        if pdu.sender().server_name() != origin {
            return Err(Error::forbidden("the invite is of another server's user"));
        }
        if !self.is_local(&user) {
            let reason = "the user is not one of this server";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        let checked = self
            .remote()?
            .verify(vec![pdu], invite.version)
            .await?
            .pop();
        let pdu = checked
            .ok_or_else(|| Error::forbidden("the invite cannot be checked"))?
            .map_err(|e| Error::forbidden(e.to_string()))?;
        let pdu = countersign(&pdu, invite.version, &self.0.key)?;
        let view = self.0.store.view().await?;
        if self
            .is_server_in_room(&view, self.server_name(), &invite.room_id)
            .await?
        {
            // It comes again with the other events of the room.
            return Ok(pdu);
        }
        let mut shown: Vec<_> = invite
            .shown
            .iter()
            .take(MAX_SHOWN)
            .filter_map(|event| stripped(event))
            .collect();
        shown.push(strip(&pdu));
        self.remember_outside(&pdu, invite.version, Membership::Invite, Some(shown))
            .await?;
        Ok(pdu)
    }

    /// Makes the membership of a user of this server in a room of other servers what an event says.
    pub(super) async fn remember_outside(
        &self,
        event: &Pdu,
        version: RoomVersion,
        membership: Membership,
        shown: Option<Vec<Box<RawValue>>>,
    ) -> Result<(), Error> {
        let user = event.state_key().and_then(|user| UserId::parse(user).ok());
        let user = user.ok_or_else(|| Error::refused(Refusal::BadJson, "not a user id"))?;
        let room_id = event.room_id();
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let mut batch = Batch::new();
            let id = event.event_id();
            if self.event(&view, id).await?.is_none() {
                let outlier = StoredEvent::outlier(event.clone(), version);
                batch.assert_absent(&EVENTS, id.as_str());
                batch.put(&EVENTS, id.as_str(), EventRecord::of(&outlier));
            }
            let key = (room_id.as_str(), user.as_str());
            let before = view.get(&MEMBERS, key).await?;
            if before
                .as_ref()
                .is_some_and(|m| m.membership == Membership::Join)
            {
                return Err(Error::forbidden("the user is in the room already"));
            }
            let position = batch.position();
            let member = Member {
                membership,
                position,
                since: position,
                event_id: id.to_owned(),
                sender: event.sender().to_owned(),
            };
            plan_member(&mut batch, room_id, &user, before.as_ref(), &member);
            match &shown {
                Some(shown) => batch.put(&SHOWN_OUTSIDE, key, Json(shown)),
                None => batch.delete(&SHOWN_OUTSIDE, key),
            }
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// Ends a membership of which no other server wants to hear.
    pub(super) async fn forget_outside(
        &self,
        room_id: &RoomId,
        user: &UserId,
        before: &Member,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        let position = batch.position();
        let member = Member {
            membership: Membership::Leave,
            position,
            since: position,
            ..before.clone()
        };
        plan_member(&mut batch, room_id, user, Some(before), &member);
        batch.delete(&SHOWN_OUTSIDE, (room_id.as_str(), user.as_str()));
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict) => Err(Error::Busy),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }

    /// What a user who is invited to a room of other servers, or knocks there, is shown of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn shown_outside(
        &self,
        view: &View,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<Option<Vec<Box<RawValue>>>, Error> {
        let key = (room_id.as_str(), user.as_str());
        Ok(view
            .get(&SHOWN_OUTSIDE, key)
            .await?
            .map(|Json(shown)| shown))
    }

    /// What somebody outside is shown of the room in the state `root`, as events: with the member event of `user`.
    pub(super) async fn shown_events(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        user: &UserId,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let settings = STRIPPED.map(|event_type| (event_type, ""));
        let mut shown = Vec::with_capacity(STRIPPED.len() + 1);
        for (event_type, state_key) in settings
            .into_iter()
            .chain([("m.room.member", user.as_str())])
        {
            if let Some(event) = self
                .state_event(view, head, root, event_type, state_key)
                .await?
            {
                shown.push(federation_json(&event.pdu));
            }
        }
        Ok(shown)
    }

    /// Invites a user of another server: that server signs the invite before anybody else sees it.
    pub(super) async fn invite_elsewhere(
        &self,
        change: MemberChange,
    ) -> Result<OwnedEventId, Error> {
        let remote = self.remote()?;
        let room_id = change.room_id.clone();
        let plan = Plan::open(self, room_id.clone())
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))?;
        match plan
            .member(&change.target)
            .await?
            .map(|member| member.membership)
        {
            Some(Membership::Join) => {
                return Err(Error::forbidden("the user is in the room already"));
            }
            Some(Membership::Ban) => {
                return Err(Error::forbidden("the user is banned from the room"));
            }
            _ => {}
        }
        let invite = plan.authorised(proposal(&change)?).await?;
        let invite = plan.recommended(invite).await?;
        let version = plan.head.version;
        let shown = self
            .shown_events(&plan.view, &plan.head, plan.head.state, &change.sender)
            .await?;
        let server = change.target.server_name();
        let signed = remote.invite(server, version, &invite, shown).await?;
        let mut read = self.read_events(&room_id, version, &[signed]).await?;
        let signed = read.remove(invite.event_id()).ok_or_else(|| {
            Error::Unreachable(format!("{server} did not sign the invite that it got"))
        })?;
        drop(plan);
        let received = Received {
            pdu: signed,
            given: Given::Nothing,
            pass_on: true,
        };
        let work = Work::Receive(Box::new(received));
        self.enqueue(room_id, work).await
    }
}

/// What a server shows of a room, be it a whole event or already stripped, as clients see it; nothing for what is neither.
pub(super) fn stripped(event: &RawValue) -> Option<Box<RawValue>> {
    #[derive(Deserialize, Serialize)]
    struct Stripped<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin_server_ts: Option<u64>,
        sender: OwnedUserId,
        state_key: String,
        #[serde(rename = "type")]
        event_type: String,
    }
    let mut stripped: Stripped<'_> = serde_json::from_str(event.get()).ok()?;
    if stripped.event_type != "m.room.create" {
        stripped.origin_server_ts = None;
    }
    to_raw_value(&stripped).ok()
}

fn plan_member(
    batch: &mut Batch,
    room_id: &RoomId,
    user: &UserId,
    before: Option<&Member>,
    member: &Member,
) {
    let key = (room_id.as_str(), user.as_str());
    batch.assert_unchanged(&MEMBERS, key, before);
    batch.put(&MEMBERS, key, member);
    note_moved(batch, user, member.position);
    batch.put(&USER_ROOMS, (user.as_str(), room_id.as_str()), member);
    batch.wake(Topic::new('u', user.as_str()));
}

/// The invite that a user of this server sends.
fn proposal(change: &MemberChange) -> Result<Proposal, Error> {
    let mut content = serde_json::json!({ "membership": "invite" });
    for (field, value) in [
        ("displayname", &change.profile.displayname),
        ("avatar_url", &change.profile.avatar_url),
        ("reason", &change.reason),
    ] {
        if let Some(value) = value {
            content[field] = value.as_str().into();
        }
    }
    if let Some(proof) = &change.third_party_invite {
        content["third_party_invite"] = proof.clone();
    }
    if change.is_direct {
        content["is_direct"] = true.into();
    }
    let content =
        to_raw_value(&content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))?;
    Ok(Proposal {
        sender: change.sender.clone(),
        event_type: "m.room.member".to_owned(),
        state_key: Some(change.target.to_string()),
        content,
        redacts: None,
        transaction: None,
        timestamp: None,
    })
}
