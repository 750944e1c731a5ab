//! Owns changes of memberships: join, leave, invite, kick, ban, unban, knock, and forgetting. Must never decide what the
//! auth rules decide; it only tells in plain words what they would refuse anyway, and picks who lets a restricted join in.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-membership>

use std::collections::BTreeMap;

use hearth_store::{Batch, CommitError, Topic};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::to_raw_value};

use crate::{
    Act, Error, MemberChange, Membership, Profile, Refusal, Rooms,
    known_rooms::note_moved,
    member::{FORGOTTEN, USER_ROOMS},
    plan::{Plan, Proposal},
    purge::note_forgotten,
    queue::{MAX_TRIES, Work},
};

/// How many rooms of a restricted room's list are looked at.
const MAX_ALLOWING_ROOMS: usize = 50;

/// How many listed users are tried as the one who lets a restricted join in.
const MAX_AUTHORISERS: usize = 200;

/// What the server alone writes into the content of a member event.
const OWN_FIELDS: [&str; 7] = [
    "membership",
    "displayname",
    "avatar_url",
    "reason",
    "is_direct",
    "join_authorised_via_users_server",
    "third_party_invite",
];

impl Rooms {
    /// Changes a membership; returns the member event. A join of one who is joined returns the event that is there.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound` for a room that this server does not know, `Refused` with `BadState`.
    pub async fn change_membership(&self, change: MemberChange) -> Result<OwnedEventId, Error> {
        self.change_membership_through(change, &[]).await
    }

    /// As [`Rooms::change_membership`], in a room that this server is in.
    pub(crate) async fn change_here(&self, change: MemberChange) -> Result<OwnedEventId, Error> {
        self.enqueue(change.room_id.clone(), Work::Member(change))
            .await
    }

    /// Joins, by the user's own will.
    ///
    /// # Errors
    /// As [`Rooms::change_membership`].
    pub async fn join(
        &self,
        room_id: OwnedRoomId,
        user: OwnedUserId,
        profile: Profile,
    ) -> Result<OwnedEventId, Error> {
        let change = MemberChange::own(room_id, user, Act::Join);
        self.change_membership(MemberChange { profile, ..change })
            .await
    }

    /// Shows a joined user with another profile: a new member event.
    ///
    /// # Errors
    /// As [`Rooms::change_membership`]; `Forbidden` when the user is not joined.
    pub async fn update_profile(
        &self,
        room_id: OwnedRoomId,
        user: OwnedUserId,
        profile: Profile,
    ) -> Result<OwnedEventId, Error> {
        let view = self.0.store.view().await?;
        if !self.is_joined(&view, &user, &room_id).await? {
            return Err(Error::forbidden("the user is not in the room"));
        }
        self.join(room_id, user, profile).await
    }

    /// Takes a room that the user left out of their list. They lose what they could read of it.
    ///
    /// # Errors
    /// `Refused` (`Unknown`) while the user is in the room, invited or knocking.
    pub async fn forget(&self, room_id: &RoomId, user: &UserId) -> Result<(), Error> {
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let Some(member) = self.remembered(&view, user, room_id).await? else {
                return Ok(());
            };
            if !matches!(member.membership, Membership::Leave | Membership::Ban) {
                return Err(Error::refused(
                    Refusal::Unknown,
                    "leave the room before you forget it",
                ));
            }
            let mut batch = Batch::new();
            let key = (user.as_str(), room_id.as_str());
            batch.assert_equals(&USER_ROOMS, key, &member);
            batch.delete(&USER_ROOMS, key);
            let position = batch.position();
            note_moved(&mut batch, user, position);
            let gone = (user.as_str(), member.position, room_id.as_str());
            batch.put(&FORGOTTEN, gone, ());
            note_forgotten(&mut batch, room_id.as_str(), self.0.clock.now().0);
            batch.wake(Topic::new('u', user.as_str()));
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }
}

/// The content of a member event.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    further: BTreeMap<&'a str, &'a Value>,
    membership: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    displayname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_direct: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_authorised_via_users_server: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    third_party_invite: Option<&'a Value>,
}

impl Plan {
    /// Plans a change of a membership.
    pub(crate) async fn change(&mut self, change: MemberChange) -> Result<OwnedEventId, Error> {
        let current = self.member(&change.target).await?;
        let now = current.as_ref().map(|m| m.membership);
        check_transition(&change, now)?;
        let authoriser = match (change.act, now) {
            (Act::Join, Some(Membership::Join | Membership::Invite)) => None,
            (Act::Join, _) => self.authoriser(&change.target).await?,
            _ => None,
        };
        let shown = match change.act {
            // Whoever is put out is shown as before; the name of who invites stays out of it.
            Act::Join | Act::Invite | Act::Knock => change.profile.clone(),
            Act::Leave | Act::Kick | Act::Ban | Act::Unban => Profile::default(),
        };
        let content = Content {
            further: further(&change),
            membership: change.act.result().as_str(),
            displayname: shown.displayname.as_deref(),
            avatar_url: shown.avatar_url.as_deref(),
            reason: change.reason.as_deref(),
            is_direct: (change.act == Act::Invite && change.is_direct).then_some(true),
            join_authorised_via_users_server: authoriser.as_deref(),
            third_party_invite: change.third_party_invite.as_ref(),
        };
        let content =
            to_raw_value(&content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))?;
        if let (Act::Join, Some(Membership::Join), Some(current)) = (change.act, now, &current)
            && let Some(event) = self.event(&current.event_id).await?
            && same_profile(event.pdu.content().get(), &change.profile)
        {
            return Ok(current.event_id.clone());
        }
        let added = self
            .add(Proposal {
                sender: change.sender,
                event_type: "m.room.member".to_owned(),
                state_key: Some(change.target.into()),
                content,
                redacts: None,
                transaction: None,
                timestamp: None,
            })
            .await?;
        Ok(added.event_id().to_owned())
    }

    /// For a room that members of other rooms may join: a user of this server who may let `user` in, if they may come.
    pub(crate) async fn authoriser(&self, user: &UserId) -> Result<Option<OwnedUserId>, Error> {
        #[derive(Deserialize)]
        struct JoinRules {
            join_rule: String,
            #[serde(default)]
            allow: Vec<Allow>,
        }
        #[derive(Deserialize)]
        struct Allow {
            #[serde(rename = "type")]
            kind: String,
            room_id: Option<OwnedRoomId>,
        }
        let Some(event) = self.state("m.room.join_rules", "").await? else {
            return Ok(None);
        };
        let Ok(rules) = serde_json::from_str::<JoinRules>(event.pdu.content().get()) else {
            return Ok(None);
        };
        if !matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted") {
            return Ok(None);
        }
        let rooms = rules
            .allow
            .into_iter()
            .filter(|allow| allow.kind == "m.room_membership")
            .filter_map(|allow| allow.room_id);
        let own = self.rooms.server_name();
        let mut knows_all = true;
        for room_id in rooms.take(MAX_ALLOWING_ROOMS) {
            if self.rooms.is_joined(&self.view, user, &room_id).await?
                && self
                    .rooms
                    .is_server_in_room(&self.view, own, &room_id)
                    .await?
            {
                return self.inviter().await.map(Some);
            }
            knows_all &= self.knows_members(&room_id).await?;
        }
        let reason = "you are in none of the rooms whose members may join";
        match knows_all {
            true => Err(Error::forbidden(reason)),
            false => Err(Error::refused(Refusal::UnableToAuthoriseJoin, reason)),
        }
    }

    /// Whether it is known here who is in a room: not of one that this server left, or of which it does not know all.
    async fn knows_members(&self, room_id: &RoomId) -> Result<bool, Error> {
        let (rooms, view) = (&self.rooms, &self.view);
        let Some(head) = rooms.head(view, room_id).await? else {
            return Ok(false);
        };
        let own = rooms.server_name();
        Ok(rooms.is_server_in_room(view, own, room_id).await?
            && !rooms.is_partial(view, room_id, &head).await?)
    }

    /// A joined user of this server who may invite.
    async fn inviter(&self) -> Result<OwnedUserId, Error> {
        let levels = self.levels().await?;
        let listed = levels
            .listed_users()
            .filter(|(user, level)| self.rooms.is_local(user) && *level >= levels.invite())
            .map(|(user, _)| user.to_owned())
            .take(MAX_AUTHORISERS);
        for user in listed.collect::<Vec<_>>() {
            if self
                .member(&user)
                .await?
                .is_some_and(|m| m.membership == Membership::Join)
            {
                return Ok(user);
            }
        }
        if levels.users_default() >= levels.invite()
            && let Some(room_id) = &self.room_id
        {
            let members = self.rooms.local_members(&self.view, room_id).await?;
            let able = |user: &OwnedUserId| levels.user(user) >= levels.invite();
            if let Some(user) = members.into_iter().find(able) {
                return Ok(user);
            }
        }
        Err(Error::refused(
            Refusal::UnableToGrantJoin,
            "nobody on this server may let you in",
        ))
    }
}

/// Refuses what the auth rules would refuse in words that only an implementer understands.
fn check_transition(change: &MemberChange, now: Option<Membership>) -> Result<(), Error> {
    let is_own = change.sender == change.target;
    match (change.act, now) {
        (Act::Join | Act::Leave | Act::Knock, _) if !is_own => {
            Err(Error::forbidden("only the user themselves may do this"))
        }
        (Act::Join | Act::Knock, Some(Membership::Ban)) => {
            Err(Error::forbidden("you are banned from this room"))
        }
        (Act::Knock, Some(Membership::Join)) => {
            Err(Error::forbidden("you are in this room already"))
        }
        (Act::Leave, None | Some(Membership::Leave | Membership::Ban)) => {
            Err(Error::forbidden("you are not in this room"))
        }
        (Act::Invite, Some(Membership::Join)) => {
            Err(Error::forbidden("the user is in the room already"))
        }
        (Act::Invite, Some(Membership::Ban)) => {
            Err(Error::forbidden("the user is banned from the room"))
        }
        (Act::Kick, None | Some(Membership::Leave | Membership::Ban)) => {
            Err(Error::forbidden("the user is not in the room"))
        }
        (Act::Unban, before) if before != Some(Membership::Ban) => {
            Err(Error::refused(Refusal::BadState, "the user is not banned"))
        }
        _ => Ok(()),
    }
}

/// What the caller puts into the content beyond what the server writes there itself.
fn further(change: &MemberChange) -> BTreeMap<&str, &Value> {
    let given = change.further.iter();
    given
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| !OWN_FIELDS.contains(name))
        .collect()
}

/// Whether a joined user is shown so already.
fn same_profile(content: &str, profile: &Profile) -> bool {
    #[derive(Deserialize)]
    struct Shown {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    serde_json::from_str::<Shown>(content).is_ok_and(|shown| {
        shown.displayname == profile.displayname && shown.avatar_url == profile.avatar_url
    })
}
