//! Owns how users of other servers come into rooms in which this server is: drafts of their member events, and taking in
//! what they signed. Must never let in whom the rules refuse.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#joining-rooms>

use std::sync::Arc;

use hearth_protocol::{Pdu, RoomVersion, countersign, to_template};
use hearth_store::View;
use ruma::{EventId, OwnedEventId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::serve::StateOf;
use crate::{
    Error, Head, Membership, Refusal, Rooms, Root, StoredEvent, membership_of,
    plan::{Plan, Proposal},
    queue::Work,
};

/// How many servers are named to one that joins.
const MAX_SERVERS: usize = 10_000;

/// A member event for another server to sign.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The version of the room.
    pub version: RoomVersion,
    /// The event, without hashes and signatures.
    pub event: Box<RawValue>,
}

/// A member event of another server's user that was taken in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The event, with the signature of this server where the room asks for it.
    pub event: Pdu,
    /// The version of the room.
    pub version: RoomVersion,
    /// For a join: the state before it, and what vouches for that and for the join.
    pub state: StateOf,
    /// For a join: the servers in the room before it.
    pub servers: Vec<OwnedServerName>,
    /// For a knock: what the user is shown of the room, as events.
    pub shown: Vec<Box<RawValue>>,
}

impl Rooms {
    /// Drafts a join, a leave or a knock of a user of another server that knows the versions `known`.
    ///
    /// # Errors
    /// `NotFound` for a room that this server is not in, `Forbidden` when the rules or the access list refuse,
    /// `Refused` with `IncompatibleRoomVersion` or `UnableToGrantJoin`.
    pub async fn draft_for(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        membership: Membership,
        known: Option<&[RoomVersion]>,
    ) -> Result<Draft, Error> {
        if user.server_name() != origin {
            return Err(Error::forbidden("the user is not one of your server"));
        }
        let plan = Plan::open(self, room_id.to_owned())
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))?;
        let head = self.served_head(&plan.view, origin, room_id).await?;
        self.check_lets_in(&plan.view, room_id, &head, membership)
            .await?;
        if known.is_some_and(|known| !known.contains(&head.version)) {
            let kind = Refusal::IncompatibleRoomVersion(head.version);
            return Err(Error::refused(
                kind,
                "your server does not know the room's version",
            ));
        }
        let now = plan.member(user).await?.map(|member| member.membership);
        let authoriser = match (membership, now) {
            (Membership::Join, Some(Membership::Join | Membership::Invite)) => None,
            (Membership::Join, _) => plan.authoriser(user).await?,
            _ => None,
        };
        let proposal = proposal(user, membership, authoriser)?;
        let pdu = plan.authorised(proposal).await?;
        Ok(Draft {
            version: head.version,
            event: to_template(&pdu)?,
        })
    }

    /// Takes in a member event that a user of another server signed. For a join, the members may be left out of the state if
    /// `omit_members`.
    ///
    /// # Errors
    /// `Refused` (`InvalidParam`) when it is not the event that is asked for, `Forbidden` when the signature does not hold
    /// or the rules refuse, `NotFound` for a room that this server is not in.
    pub async fn admit(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        json: &RawValue,
        membership: Membership,
        omit_members: bool,
    ) -> Result<Admitted, Error> {
        let view = self.0.store.view().await?;
        let head = self.served_head(&view, origin, room_id).await?;
        self.check_lets_in(&view, room_id, &head, membership)
            .await?;
        let mut servers = Vec::new();
        if membership == Membership::Join {
            servers = self.servers(&view, room_id, MAX_SERVERS).await?;
        }
        let version = head.version;
        let pdu = Pdu::parse(json.get().as_bytes(), version)?;
        check_form(origin, room_id, event_id, &pdu, membership)?;
        let pdu = match authoriser_of(&pdu) {
            Some(user) if membership == Membership::Join && self.is_local(&user) => {
                self.check_conditions(room_id, &pdu).await?;
                countersign(&pdu, version, &self.0.key)?
            }
            _ => pdu,
        };
        let checked = self.remote()?.verify(vec![pdu], version).await?.pop();
        let pdu = checked
            .ok_or_else(|| Error::forbidden("the event cannot be checked"))?
            .map_err(|e| Error::forbidden(e.to_string()))?;
        let mut received = self
            .prepare(origin, pdu.clone(), &Default::default())
            .await?;
        received.pass_on = true;
        let work = Work::Receive(Box::new(received));
        self.enqueue(room_id.to_owned(), work).await?;
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, room_id).await?;
        let event = self.known_event(&view, event_id).await?;
        let (mut state, mut shown) = (StateOf::default(), Vec::new());
        match membership {
            Membership::Join => {
                let root = event.state_before;
                state = self
                    .state_for_join(&view, &head, root, &event, omit_members)
                    .await?;
            }
            Membership::Knock => {
                let user = pdu.sender();
                shown = self
                    .shown_events(&view, &head, event.state_before, user)
                    .await?;
            }
            _ => {}
        }
        Ok(Admitted {
            event: event.pdu.clone(),
            version,
            state,
            servers,
            shown,
        })
    }

    /// Whether users of other servers may come into a room through this server: not while it does not know all of it.
    async fn check_lets_in(
        &self,
        view: &View,
        room_id: &RoomId,
        head: &Head,
        membership: Membership,
    ) -> Result<(), Error> {
        let comes = matches!(membership, Membership::Join | Membership::Knock);
        if comes && self.is_partial(view, room_id, head).await? {
            let reason = "this server does not know the members of the room yet";
            return Err(Error::not_found(reason));
        }
        Ok(())
    }

    /// The state before a join and what vouches for it and for the join. Without members, only those are in it after whom
    /// a room without a name is called.
    async fn state_for_join(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        join: &Arc<StoredEvent>,
        omit_members: bool,
    ) -> Result<StateOf, Error> {
        if !omit_members {
            return self.state_of(view, head, root).await;
        }
        let (member, user) = ("m.room.member", join.pdu.sender());
        let mut ids: Vec<OwnedEventId> = self
            .state_ids_except(view, head, root, member)
            .await?
            .into_iter()
            .map(|(_, _, id)| id)
            .collect();
        let is_named = self
            .state_id(view, head, root, "m.room.name", "")
            .await?
            .is_some()
            || self
                .state_id(view, head, root, "m.room.canonical_alias", "")
                .await?
                .is_some();
        if !is_named {
            for hero in self.heroes(view, join.pdu.room_id(), user).await? {
                let found = self.state_id(view, head, root, member, hero.as_str());
                ids.extend(found.await?);
            }
        }
        let state = self.known_events(view, ids).await?;
        let mut vouched = state.clone();
        vouched.push(join.clone());
        let auth_chain = self.auth_chain(view, &vouched).await?;
        Ok(StateOf { state, auth_chain })
    }

    /// Whether a user whom one of this server's is to let in may come.
    async fn check_conditions(&self, room_id: &RoomId, join: &Pdu) -> Result<(), Error> {
        let plan = Plan::open(self, room_id.to_owned())
            .await?
            .ok_or_else(|| Error::not_found("there is no such room"))?;
        let now = plan
            .member(join.sender())
            .await?
            .map(|member| member.membership);
        if matches!(now, Some(Membership::Join | Membership::Invite)) {
            return Ok(());
        }
        plan.authoriser(join.sender()).await.map(|_| ())
    }
}

/// The user who is said to let a restricted join in.
fn authoriser_of(pdu: &Pdu) -> Option<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        join_authorised_via_users_server: Option<OwnedUserId>,
    }
    let content: Content = serde_json::from_str(pdu.content().get()).ok()?;
    content.join_authorised_via_users_server
}

fn check_form(
    origin: &ServerName,
    room_id: &RoomId,
    event_id: &EventId,
    pdu: &Pdu,
    membership: Membership,
) -> Result<(), Error> {
    let wrong = |reason: &str| Err(Error::refused(Refusal::InvalidParam, reason));
    if pdu.room_id() != room_id {
        return wrong("the event is of another room");
    }
    if pdu.event_id() != event_id {
        return wrong("the event has another id");
    }
    if !pdu.is("m.room.member", pdu.sender().as_str()) {
        return wrong("the event is not the sender's own membership");
    }
    if membership_of(pdu.content().get()) != membership {
        return wrong("the event is of another membership");
    }
    if pdu.sender().server_name() != origin {
        return Err(Error::forbidden("the user is not one of your server"));
    }
    Ok(())
}

fn proposal(
    user: &UserId,
    membership: Membership,
    authoriser: Option<OwnedUserId>,
) -> Result<Proposal, Error> {
    let mut content = serde_json::json!({ "membership": membership.as_str() });
    if let Some(authoriser) = authoriser {
        content["join_authorised_via_users_server"] = authoriser.as_str().into();
    }
    let content =
        to_raw_value(&content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))?;
    Ok(Proposal {
        sender: user.to_owned(),
        event_type: "m.room.member".to_owned(),
        state_key: Some(user.to_string()),
        content,
        redacts: None,
        transaction: None,
        timestamp: None,
    })
}
