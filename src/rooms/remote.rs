//! The seam to other servers: what rooms ask of them. `federation` implements it and the server wires it; a test answers by
//! itself. Owns no decision: what comes back is checked here, in `receive/`, before anything is believed.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/>

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use hearth_protocol::{BadSignature, Pdu, RoomVersion};
use hearth_store::{Direction, View};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName,
    OwnedUserId, RoomAliasId, RoomId, ServerName, UserId,
    api::federation::{
        directory::get_public_rooms_filtered,
        keys::{claim_keys, get_keys},
        space::get_hierarchy,
    },
};
use serde_json::value::RawValue;

use crate::{Error, Membership, Rooms, heads_of};

/// How many servers of a room are told.
const MAX_SERVERS: usize = 10_000;

/// The answer to a question, which somebody waits for.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, NoAnswer>>;

/// Why another server gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It says no.
    #[error("{message}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its errcode.
        errcode: String,
        /// For people.
        message: String,
    },
    /// It cannot be reached, or answers what nobody understands.
    #[error("{0}")]
    Unreachable(String),
}

/// A member event that another server drafted.
#[derive(Clone, Debug)]
pub struct Template {
    /// The version of the room; nothing if this server does not know it.
    pub version: Option<RoomVersion>,
    /// The draft.
    pub event: Box<RawValue>,
}

/// What a server tells of a room that one of our users joins.
#[derive(Clone, Debug, Default)]
pub struct JoinedState {
    /// The state before the join.
    pub state: Vec<Box<RawValue>>,
    /// What vouches for it.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The join with the signature of that server, if it added one.
    pub event: Option<Box<RawValue>>,
    /// The servers in the room before the join, where the members are left out of the state; nothing if they are in it.
    pub without_members: Option<Vec<OwnedServerName>>,
}

/// The ids of a state and of what vouches for it.
#[derive(Clone, Debug, Default)]
pub struct StateIds {
    /// The events of the state.
    pub state: Vec<OwnedEventId>,
    /// Their auth events, recursively.
    pub auth_chain: Vec<OwnedEventId>,
}

/// Something that is told to servers and is no event.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its type, for example `m.typing`.
    pub kind: &'static str,
    /// Its content.
    pub content: serde_json::Value,
}

/// Asks other servers. Every answer is bounded in size and time.
pub trait Remote: Send + Sync + 'static {
    /// Asks a server in the room to draft a member event of `user`: a join, a leave or a knock.
    fn draft<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
        membership: Membership,
    ) -> Asked<'a, Template>;

    /// The heads of a room as the server has them, which it names in a draft for `user`, one of ours in the room. Nobody waits.
    fn heads<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
    ) -> Asked<'a, Vec<OwnedEventId>> {
        Box::pin(async move {
            let draft = self.draft(server, room_id, user, Membership::Leave).await?;
            Ok(heads_of(&draft.event))
        })
    }

    /// Asks the policy server of a room to sign an event; gives the signature, in base64.
    fn recommend<'a>(&'a self, server: &'a ServerName, pdu: &'a Pdu) -> Asked<'a, String>;

    /// Sends a signed join to a server in the room, which may leave the members out of its answer if `omit_members`.
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        omit_members: bool,
    ) -> Asked<'a, JoinedState>;

    /// Sends a signed leave to a server in the room.
    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> Asked<'a, ()>;

    /// Sends a signed knock to a server in the room; gives what the user is shown of the room, as stripped state.
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> Asked<'a, Vec<Box<RawValue>>>;

    /// Invites a user of the server, who is shown `shown` of the room; gives the event with that server's signature.
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        version: RoomVersion,
        invite: &'a Pdu,
        shown: Vec<Box<RawValue>>,
    ) -> Asked<'a, Box<RawValue>>;

    /// The events between `earliest` and `latest`, `limit` at most.
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        earliest: Vec<OwnedEventId>,
        latest: Vec<OwnedEventId>,
        limit: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>>;

    /// The state before an event, as ids.
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, StateIds>;

    /// The state before an event and what vouches for it, as events.
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, JoinedState>;

    /// One event.
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> Asked<'a, Box<RawValue>>;

    /// The auth events of an event, recursively.
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, Vec<Box<RawValue>>>;

    /// At most `limit` events before those of `from`, and those themselves.
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>>;

    /// The event of the room that the server knows nearest to a time, on the side that `direction` names, and its time.
    fn event_near<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Asked<'a, (OwnedEventId, MilliSecondsSinceUnixEpoch)>;

    /// A space of the server and the rooms in it.
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        suggested_only: bool,
    ) -> Asked<'a, get_hierarchy::v1::Response>;

    /// The room that an alias of another server points to, and servers in it.
    fn resolve_alias<'a>(
        &'a self,
        alias: &'a RoomAliasId,
    ) -> Asked<'a, (OwnedRoomId, Vec<OwnedServerName>)>;

    /// The profile of a user of another server.
    fn profile<'a>(
        &'a self,
        user: &'a UserId,
    ) -> Asked<'a, serde_json::Map<String, serde_json::Value>>;

    /// Tells servers something that may be lost on the way.
    fn tell(&self, servers: Vec<OwnedServerName>, message: Message);

    /// Tells servers something that must not be lost: it is on disk before this returns.
    fn queue(
        &self,
        servers: Vec<OwnedServerName>,
        message: Message,
    ) -> BoxFuture<'_, Result<(), hearth_store::Error>>;

    /// The keys of users of the server.
    fn query_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Asked<'a, get_keys::v1::Response>;

    /// Claims keys of devices of users of the server.
    fn claim_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: claim_keys::v1::OneTimeKeyClaims,
    ) -> Asked<'a, claim_keys::v1::OneTimeKeys>;

    /// A page of the public rooms of the server.
    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        request: get_public_rooms_filtered::v1::Request,
    ) -> Asked<'a, get_public_rooms_filtered::v1::Response>;

    /// Checks signatures and content hashes: each event comes back as it is to be kept, in its place.
    fn verify(
        &self,
        events: Vec<Pdu>,
        version: RoomVersion,
    ) -> BoxFuture<'_, Result<Vec<Result<Pdu, BadSignature>>, hearth_store::Error>>;
}

impl From<NoAnswer> for Error {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Refused {
                status,
                errcode,
                message,
            } => match (status, errcode.as_str()) {
                (_, "M_NOT_FOUND") | (404, _) => Self::NotFound(message),
                (_, "M_FORBIDDEN") | (403, _) => Self::Forbidden(message),
                (_, "M_UNABLE_TO_GRANT_JOIN") => {
                    Self::refused(crate::Refusal::UnableToGrantJoin, message)
                }
                (_, "M_UNABLE_TO_AUTHORISE_JOIN") => {
                    Self::refused(crate::Refusal::UnableToAuthoriseJoin, message)
                }
                (_, "M_INCOMPATIBLE_ROOM_VERSION" | "M_UNSUPPORTED_ROOM_VERSION") => {
                    Self::refused(crate::Refusal::UnsupportedRoomVersion, message)
                }
                _ => Self::Unreachable(message),
            },
            NoAnswer::Unreachable(reason) => Self::Unreachable(reason),
        }
    }
}

impl Rooms {
    /// Gives the rooms a way to other servers. Once; a second call changes nothing.
    pub fn connect(&self, remote: Arc<dyn Remote>) {
        self.0.remote.set(remote).ok();
    }

    /// Tells the other servers in a room something that may be lost on the way.
    pub(crate) async fn tell_room(
        &self,
        view: &View,
        room_id: &RoomId,
        message: Message,
    ) -> Result<(), Error> {
        let Ok(remote) = self.remote() else {
            return Ok(());
        };
        let mut servers = self.servers(view, room_id, MAX_SERVERS).await?;
        servers.retain(|server| server != self.server_name());
        if !servers.is_empty() {
            remote.tell(servers, message);
        }
        Ok(())
    }

    /// The way to other servers.
    ///
    /// # Errors
    /// `Unreachable` where the operator wants none.
    pub fn remote(&self) -> Result<&Arc<dyn Remote>, Error> {
        let remote = self.0.remote.get();
        remote.ok_or_else(|| Error::Unreachable("this server speaks with no other".to_owned()))
    }
}
