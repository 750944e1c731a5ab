//! Owns how our users come into rooms of other servers: a draft from a server in the room, our signature, the state of the
//! room back, which is checked before anything is believed.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#joining-rooms>

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use hearth_protocol::{MemberDraft, Pdu, RoomVersion, create_id, seal_template};
use hearth_store::{CommitError, View};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedServerName, OwnedUserId, RoomId, ServerName,
    UInt,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::sleep;

use super::{Given, Received, states::StateList};
use crate::{
    Act, Error, JoinedState, MemberChange, Membership, Refusal, Rooms,
    plan::Plan,
    queue::{MAX_TRIES, commit},
};

/// How many servers are asked to let a user in.
const MAX_SERVERS: usize = 8;

/// How many events the state of a room may have, with what vouches for it.
const MAX_EVENTS: usize = 300_000;

/// How long is waited, each time, for servers to agree on who may come in.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// The content of a member event that a user of this server sends to another.
#[derive(Serialize)]
struct Content<'a> {
    membership: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    displayname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_authorised_via_users_server: Option<OwnedUserId>,
}

impl Rooms {
    /// Changes a membership, with the help of other servers where this one is not in the room or the target is one of
    /// theirs. `via`: servers that may be in the room.
    ///
    /// # Errors
    /// As [`Rooms::change_membership`]; `Unreachable` when no server helps.
    pub async fn change_membership_through(
        &self,
        change: MemberChange,
        via: &[OwnedServerName],
    ) -> Result<OwnedEventId, Error> {
        if self.remote().is_err() {
            return self.change_here(change).await;
        }
        if change.sender != change.target {
            self.await_member(&change.room_id, change.target.as_str())
                .await?;
        }
        let view = self.0.store.view().await?;
        match change.act {
            Act::Invite if !self.is_local(&change.target) => self.invite_elsewhere(change).await,
            Act::Join | Act::Knock if self.is_elsewhere(&view, &change.room_id).await? => {
                self.enter_elsewhere(&view, change, via).await
            }
            // Whether the user may come is for a server to say that knows.
            Act::Join if self.lacks_member(&view, &change).await? => {
                self.enter_elsewhere(&view, change, via).await
            }
            Act::Join => {
                drop(view);
                self.enter_known(change, via).await
            }
            Act::Leave if self.is_elsewhere(&view, &change.room_id).await? => {
                self.leave_elsewhere(&view, change).await
            }
            _ => self.change_here(change).await,
        }
    }

    /// Joins a room in which this server is: through another one where nobody here may let the user in.
    async fn enter_known(
        &self,
        change: MemberChange,
        via: &[OwnedServerName],
    ) -> Result<OwnedEventId, Error> {
        let mut pauses = PAUSES.iter();
        loop {
            let (kind, reason) = match self.change_here(change.clone()).await {
                Err(Error::Refused {
                    kind: kind @ (Refusal::UnableToGrantJoin | Refusal::UnableToAuthoriseJoin),
                    reason,
                }) => (kind, reason),
                other => return other,
            };
            let view = self.0.store.view().await?;
            let refused = match self.enter_elsewhere(&view, change.clone(), via).await {
                Err(Error::NotFound(_)) => return Err(Error::refused(kind, reason)),
                Err(Error::Forbidden(refused)) => refused,
                other => return other,
            };
            // The user may come, as far as is known here: of that the others have not heard yet, or this server not of more.
            match pauses.next() {
                Some(pause) if kind == Refusal::UnableToGrantJoin => sleep(*pause).await,
                _ => return Err(Error::Forbidden(refused)),
            }
        }
    }

    /// Whether it is not known what the user is to the room, since its members are not known.
    async fn lacks_member(&self, view: &View, change: &MemberChange) -> Result<bool, Error> {
        let (room_id, user) = (&change.room_id, &change.target);
        let Some(head) = self.head(view, room_id).await? else {
            return Ok(false);
        };
        Ok(self.membership(view, user, room_id).await?.is_none()
            && self.is_partial(view, room_id, &head).await?)
    }

    /// Whether the room is one of other servers, in which this one is not.
    async fn is_elsewhere(&self, view: &View, room_id: &RoomId) -> Result<bool, Error> {
        if self
            .is_server_in_room(view, self.server_name(), room_id)
            .await?
        {
            return Ok(false);
        }
        // A room that everybody has left is nobody's: whoever may join it comes back to it here.
        let is_known = self.head(view, room_id).await?.is_some();
        Ok(!is_known || !self.servers(view, room_id, 1).await?.is_empty())
    }

    /// Joins or knocks through the first server that helps.
    async fn enter_elsewhere(
        &self,
        view: &View,
        change: MemberChange,
        via: &[OwnedServerName],
    ) -> Result<OwnedEventId, Error> {
        let mut failure = None;
        for server in self.helpers(view, &change, via).await? {
            let entered = match change.act {
                Act::Knock => self.knock_at(&server, &change).await,
                _ => self.join_at(&server, &change).await,
            };
            match entered {
                Ok(id) => return Ok(id),
                Err(error) => {
                    tracing::info!(room = %change.room_id, %server, %error, "a server does not let a user in");
                    // What a server in the room says tells more than that another cannot be reached.
                    if failure.is_none() || !matches!(error, Error::Unreachable(_)) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::not_found("there is no such room")))
    }

    /// The servers that may help with the room: those that are named and that of who invited the user; if there are none,
    /// those in the room as far as is known, and that which made the room.
    pub(super) async fn helpers(
        &self,
        view: &View,
        change: &MemberChange,
        via: &[OwnedServerName],
    ) -> Result<Vec<OwnedServerName>, Error> {
        let room_id = &change.room_id;
        let inviter = self.membership(view, &change.target, room_id).await?;
        let inviter = inviter
            .filter(|member| member.membership == Membership::Invite)
            .map(|member| member.sender.server_name().to_owned());
        let known = self.servers(view, room_id, MAX_SERVERS).await?;
        let maker = room_id.server_name().map(ToOwned::to_owned);
        let mut seen = BTreeSet::new();
        let mut fit =
            |server: &OwnedServerName| server != self.server_name() && seen.insert(server.clone());
        let named = via.iter().cloned().chain(inviter);
        let mut helpers: Vec<_> = named.filter(&mut fit).take(MAX_SERVERS).collect();
        if helpers.is_empty() {
            let others = known.into_iter().chain(maker);
            helpers.extend(others.filter(&mut fit).take(MAX_SERVERS));
        }
        Ok(helpers)
    }

    /// Joins through a server.
    async fn join_at(
        &self,
        server: &ServerName,
        change: &MemberChange,
    ) -> Result<OwnedEventId, Error> {
        let (join, version) = self.signed_draft(server, change, Membership::Join).await?;
        let omit = self.may_lack_members(&change.room_id).await?;
        if !omit && self.hears_more(server, version, &join).await {
            // What this server did not know yet may be that one of its users may let this one in.
            let joined = self.change_here(change.clone()).await;
            if !matches!(joined, Err(Error::Refused { .. } | Error::Forbidden(_))) {
                return joined;
            }
        }
        let told = self.remote()?.send_join(server, &join, omit).await?;
        let id = join.event_id().to_owned();
        self.enter(server, version, join, told).await?;
        Ok(id)
    }

    /// Takes in what comes before a join in a room in which this server is, as far as it has not heard of it. Whether there
    /// was anything.
    async fn hears_more(&self, server: &ServerName, version: RoomVersion, join: &Pdu) -> bool {
        match self.fetch_before(server, version, join).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::debug!(room = %join.room_id(), %server, %error, "what comes before a join is not told");
                false
            }
        }
    }

    /// Whether the state of the room may come without members: not where this server knows all of them.
    async fn may_lack_members(&self, room_id: &RoomId) -> Result<bool, Error> {
        let view = self.0.store.view().await?;
        let own = self.server_name();
        let Some(head) = self.head(&view, room_id).await? else {
            return Ok(true);
        };
        Ok(self.is_partial(&view, room_id, &head).await?
            || !self.is_server_in_room(&view, own, room_id).await?)
    }

    /// A member event that the server drafted and this one signed.
    pub(super) async fn signed_draft(
        &self,
        server: &ServerName,
        change: &MemberChange,
        membership: Membership,
    ) -> Result<(Pdu, RoomVersion), Error> {
        #[derive(Deserialize)]
        struct Drafted {
            #[serde(default)]
            content: DraftedContent,
        }
        #[derive(Default, Deserialize)]
        struct DraftedContent {
            join_authorised_via_users_server: Option<OwnedUserId>,
        }
        let (room_id, user) = (&change.room_id, &change.target);
        let template = self
            .remote()?
            .draft(server, room_id, user, membership)
            .await?;
        let version = template.version.ok_or_else(|| {
            let reason = "the room has a version that this server does not know";
            Error::refused(Refusal::UnsupportedRoomVersion, reason)
        })?;
        let drafted: Drafted = serde_json::from_str(template.event.get())
            .map_err(|e| Error::Unreachable(format!("the draft of {server} is wrong: {e}")))?;
        let is_shown = membership != Membership::Leave;
        let content = Content {
            membership: membership.as_str(),
            displayname: change.profile.displayname.as_deref().filter(|_| is_shown),
            avatar_url: change.profile.avatar_url.as_deref().filter(|_| is_shown),
            reason: change.reason.as_deref(),
            join_authorised_via_users_server: drafted.content.join_authorised_via_users_server,
        };
        let content =
            to_raw_value(&content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))?;
        let draft = MemberDraft {
            room_id: room_id.clone(),
            user: user.clone(),
            content,
            origin_server_ts: self.timestamp(),
            local_id: self.0.rng.opaque(24),
        };
        Ok((
            seal_template(&template.event, draft, version, &self.0.key)?,
            version,
        ))
    }

    pub(super) fn timestamp(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.0.clock.now().0))
    }

    /// Believes what a server told of the room, as far as it holds, and enters it.
    async fn enter(
        &self,
        server: &ServerName,
        version: RoomVersion,
        join: Pdu,
        told: JoinedState,
    ) -> Result<(), Error> {
        if told.state.len() + told.auth_chain.len() > MAX_EVENTS {
            return Err(Error::refused(Refusal::TooLarge, "the room is too large"));
        }
        let room_id = join.room_id().to_owned();
        let join = self.with_their_signature(version, join, told.event).await?;
        let state = self.read_events(&room_id, version, &told.state).await?;
        let mut events = self
            .read_events(&room_id, version, &told.auth_chain)
            .await?;
        let in_state: BTreeSet<OwnedEventId> = state.keys().cloned().collect();
        events.extend(state);
        check_create(version, &room_id, &in_state, &events)?;
        let view = self.0.store.view().await?;
        let judged = self.judge_outliers(&view, version, events).await?;
        let mut state: StateList = judged
            .iter()
            .filter(|pdu| in_state.contains(pdu.event_id()) && !pdu.is_rejected())
            .filter_map(|pdu| {
                let entry = (pdu.event_type().to_owned(), pdu.state_key()?.to_owned());
                Some((entry.0, entry.1, pdu.event_id().to_owned()))
            })
            .collect();
        drop(view);
        if told.without_members.is_some() {
            state.extend(membership_before(&join, &judged, &in_state));
        }
        let entry = Entry {
            version,
            join,
            via: server,
            outliers: judged,
            state: Arc::new(state),
            without_members: told.without_members,
        };
        for _ in 0..MAX_TRIES {
            let plan = self.plan_entry(&entry).await?;
            let is_partial = plan.partial.is_some();
            match commit(plan).await {
                Ok(()) => {
                    if is_partial {
                        self.0.joined_partially.notify_one();
                    }
                    return Ok(());
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    async fn plan_entry(&self, entry: &Entry<'_>) -> Result<Plan, Error> {
        let (version, join, state) = (entry.version, &entry.join, &entry.state);
        let room_id = join.room_id();
        let mut plan = match Plan::open(self, room_id.to_owned()).await? {
            Some(plan) => plan,
            None => Plan::create(self, version, Some(room_id.to_owned())).await?,
        };
        if plan.head.version != version {
            return Err(Error::Unreachable(
                "the room is known with another version".to_owned(),
            ));
        }
        plan.add_outliers(&entry.outliers).await?;
        let is_inside = self
            .is_server_in_room(&plan.view, self.server_name(), room_id)
            .await?;
        let known = plan.known_before(join).await?;
        let follows_known = known.len() == join.prev_events().len() && !known.is_empty();
        if let Some(servers) = &entry.without_members
            && (plan.partial.is_some() || !follows_known)
        {
            if is_inside && plan.partial.is_none() {
                // Asked before another of our users came in, or not asked for at all.
                let reason = "the members of a room that is known are left out";
                return Err(Error::Unreachable(reason.to_owned()));
            }
            plan.lack_members(entry.via, servers);
        }
        if is_inside {
            // Another of our users came in meanwhile: what is known of the room since goes on.
            let given = match &entry.without_members {
                Some(_) if follows_known => Given::Nothing,
                Some(_) => Given::WithoutMembers(state.clone()),
                None => Given::Before(state.clone()),
            };
            let received = Received {
                pdu: join.clone(),
                given,
                pass_on: false,
            };
            plan.receive(received).await?;
        } else {
            let state_before = match &entry.without_members {
                Some(_) if follows_known => plan.state_before(join).await?,
                _ => plan.given_state(state).await?,
            };
            plan.enter(join.clone(), state_before).await?;
        }
        Ok(plan)
    }

    /// The join as the other server signed it as well, if it did.
    async fn with_their_signature(
        &self,
        version: RoomVersion,
        join: Pdu,
        theirs: Option<Box<RawValue>>,
    ) -> Result<Pdu, Error> {
        let Some(theirs) = theirs else {
            return Ok(join);
        };
        let read = self.read_events(join.room_id(), version, &[theirs]).await?;
        // The same id means the same event, save for signatures.
        Ok(read
            .into_iter()
            .find(|(id, _)| id == join.event_id())
            .map_or(join, |(_, pdu)| pdu))
    }
}

/// What the user was to the room before they joined, where that is left out: the join names it, as the invite that it answers.
fn membership_before(
    join: &Pdu,
    told: &[Pdu],
    in_state: &BTreeSet<OwnedEventId>,
) -> Option<(String, String, OwnedEventId)> {
    let user = join.sender().as_str();
    let named = told.iter().find(|pdu| {
        pdu.is("m.room.member", user)
            && join.auth_events().contains(&pdu.event_id().to_owned())
            && !pdu.is_rejected()
            && !in_state.contains(pdu.event_id())
    })?;
    let entry = (named.event_type().to_owned(), user.to_owned());
    Some((entry.0, entry.1, named.event_id().to_owned()))
}

/// A join that a server took in, and what it told of the room.
struct Entry<'a> {
    version: RoomVersion,
    join: Pdu,
    via: &'a ServerName,
    outliers: Vec<Pdu>,
    state: Arc<StateList>,
    /// The servers in the room, where the members are left out.
    without_members: Option<Vec<OwnedServerName>>,
}

/// The state has to have the one create event that the room can have, of the version that was said.
fn check_create(
    version: RoomVersion,
    room_id: &RoomId,
    in_state: &BTreeSet<OwnedEventId>,
    events: &HashMap<OwnedEventId, Pdu>,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Content {
        room_version: Option<String>,
    }
    let wrong = |what: &str| Error::Unreachable(format!("the state of the room is wrong: {what}"));
    let create = in_state
        .iter()
        .filter_map(|id| events.get(id))
        .find(|pdu| pdu.is("m.room.create", ""))
        .ok_or_else(|| wrong("it has no create event"))?;
    if create_id(version, room_id).is_some_and(|id| id != create.event_id()) {
        return Err(wrong("the create event is of another room"));
    }
    let content: Content = serde_json::from_str(create.content().get())
        .map_err(|_| wrong("the create event cannot be read"))?;
    if content.room_version.as_deref().unwrap_or("1") != version.as_str() {
        return Err(wrong("the create event is of another version"));
    }
    Ok(())
}
