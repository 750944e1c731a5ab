//! Servers that answer each other: by calls of each other's rooms, as the endpoints would. A test may have one fail, lie or
//! keep silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use hearth_protocol::{BadSignature, Pdu, RoomVersion, federation_json};
use hearth_store::Direction;
use parking_lot::Mutex;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName,
    OwnedUserId, RoomAliasId, RoomId, ServerName, UserId,
    api::federation::{
        directory::get_public_rooms_filtered,
        keys::{claim_keys, get_keys},
        space::get_hierarchy,
    },
};
use serde_json::{Value, value::RawValue};

use super::away::Away;
use crate::{
    Asked, Error, JoinedState, Membership, Message, NoAnswer, Remote, RemoteInvite, Rooms,
    StateIds, StateOf, StoredEvent, Template,
};

/// How a server answers who asks for a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it is.
    #[default]
    Right,
    /// Not at all.
    Silent,
    /// Without the create event.
    Headless,
    /// Without the rules about who may join.
    Closed,
}

/// The servers of a test.
#[derive(Default)]
pub(super) struct Town {
    servers: Mutex<BTreeMap<OwnedServerName, Rooms>>,
    manners: Mutex<BTreeMap<OwnedServerName, Manner>>,
    /// How often anybody was asked for a draft.
    pub(super) drafts: AtomicUsize,
    /// Who was asked for a state, in order.
    pub(super) asked: Mutex<Vec<OwnedServerName>>,
}

impl Town {
    /// Connects a server to the others.
    pub(super) fn add(self: &Arc<Self>, rooms: &Rooms) {
        let own = rooms.server_name().to_owned();
        self.servers.lock().insert(own.clone(), rooms.clone());
        rooms.connect(Arc::new(Door {
            own,
            town: self.clone(),
            away: Away::default(),
        }));
    }

    /// Decides how a server answers from now on.
    pub(super) fn behave(&self, server: &str, manner: Manner) {
        let server = OwnedServerName::try_from(server).unwrap();
        self.manners.lock().insert(server, manner);
    }

    fn reach(&self, server: &ServerName) -> Result<Rooms, NoAnswer> {
        let servers = self.servers.lock();
        let gone = || NoAnswer::Unreachable(format!("{server} is not reached"));
        servers.get(server).cloned().ok_or_else(gone)
    }

    /// The state before an event as a server tells it to another.
    async fn state(
        &self,
        own: &ServerName,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateOf, NoAnswer> {
        let manner = self.manners.lock().get(server).copied();
        let manner = manner.unwrap_or_default();
        if manner == Manner::Silent {
            return Err(NoAnswer::Unreachable("silent".to_owned()));
        }
        let rooms = self.reach(server)?;
        let view = rooms.view().await.map_err(refused)?;
        let state = rooms.state_for(&view, own, room_id, event_id);
        let mut state = state.await.map_err(refused)?;
        let left_out = match manner {
            Manner::Headless => Some("m.room.create"),
            Manner::Closed => Some("m.room.join_rules"),
            _ => None,
        };
        let keep = |event: &Arc<StoredEvent>| Some(event.pdu.event_type()) != left_out;
        state.state.retain(keep);
        Ok(state)
    }
}

fn refused(error: Error) -> NoAnswer {
    let (status, errcode) = match &error {
        Error::NotFound(_) => (404, "M_NOT_FOUND"),
        Error::Forbidden(_) => (403, "M_FORBIDDEN"),
        _ => return NoAnswer::Unreachable(error.to_string()),
    };
    NoAnswer::Refused {
        status,
        errcode: errcode.to_owned(),
        message: error.to_string(),
    }
}

fn told(events: &[Arc<StoredEvent>]) -> Vec<Box<RawValue>> {
    let events = events.iter();
    events.map(|event| federation_json(&event.pdu)).collect()
}

/// The way of one server to the others.
struct Door {
    own: OwnedServerName,
    town: Arc<Town>,
    away: Away,
}

impl Remote for Door {
    fn draft<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
        membership: Membership,
    ) -> Asked<'a, Template> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let draft = rooms.draft_for(&self.own, room_id, user, membership, None);
            let draft = draft.await;
            self.town.drafts.fetch_add(1, Ordering::Relaxed);
            let draft = draft.map_err(refused)?;
            Ok(Template {
                version: Some(draft.version),
                event: draft.event,
            })
        })
    }
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        omit_members: bool,
    ) -> Asked<'a, JoinedState> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let (room, id, json) = (join.room_id(), join.event_id(), federation_json(join));
            let own = &self.own;
            let admitted = rooms.admit(own, room, id, &json, Membership::Join, omit_members);
            let admitted = admitted.await.map_err(refused)?;
            let mut servers: BTreeSet<_> = admitted.servers.into_iter().collect();
            servers.remove(own);
            Ok(JoinedState {
                state: told(&admitted.state.state),
                auth_chain: told(&admitted.state.auth_chain),
                event: Some(federation_json(&admitted.event)),
                without_members: omit_members.then(|| servers.into_iter().collect()),
            })
        })
    }
    fn recommend<'a>(&'a self, server: &'a ServerName, pdu: &'a Pdu) -> Asked<'a, String> {
        self.away.recommend(server, pdu)
    }
    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> Asked<'a, ()> {
        self.away.send_leave(server, leave)
    }
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        self.away.send_knock(server, knock)
    }
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        version: RoomVersion,
        invite: &'a Pdu,
        shown: Vec<Box<RawValue>>,
    ) -> Asked<'a, Box<RawValue>> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let invite = RemoteInvite {
                room_id: invite.room_id().to_owned(),
                event_id: invite.event_id().to_owned(),
                version,
                event: federation_json(invite),
                shown,
            };
            let signed = rooms.take_invite(&self.own, invite).await;
            signed.map(|pdu| federation_json(&pdu)).map_err(refused)
        })
    }
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        earliest: Vec<OwnedEventId>,
        latest: Vec<OwnedEventId>,
        limit: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let view = rooms.view().await.map_err(refused)?;
            let ends = (&*earliest, &*latest);
            let found = rooms.missing_events_for(&view, &self.own, room_id, ends, limit);
            let found = found.await.map_err(refused)?;
            Ok(found.iter().map(federation_json).collect())
        })
    }
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, StateIds> {
        Box::pin(async move {
            self.town.asked.lock().push(server.to_owned());
            let state = self.town.state(&self.own, server, room_id, event_id);
            let state = state.await?;
            let ids = |events: &[Arc<StoredEvent>]| {
                let events = events.iter();
                events.map(|event| event.event_id().to_owned()).collect()
            };
            Ok(StateIds {
                state: ids(&state.state),
                auth_chain: ids(&state.auth_chain),
            })
        })
    }
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, JoinedState> {
        Box::pin(async move {
            let state = self.town.state(&self.own, server, room_id, event_id);
            let state = state.await?;
            Ok(JoinedState {
                state: told(&state.state),
                auth_chain: told(&state.auth_chain),
                ..JoinedState::default()
            })
        })
    }
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> Asked<'a, Box<RawValue>> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let view = rooms.view().await.map_err(refused)?;
            let event = rooms.event_for(&view, &self.own, event_id).await;
            Ok(federation_json(&event.map_err(refused)?))
        })
    }
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let rooms = self.town.reach(server)?;
            let view = rooms.view().await.map_err(refused)?;
            let chain = rooms.auth_chain_for(&view, &self.own, room_id, event_id);
            Ok(told(&chain.await.map_err(refused)?))
        })
    }
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        self.away.backfill(server, room_id, from, limit)
    }
    fn event_near<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Asked<'a, (OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        self.away.event_near(server, room_id, time, direction)
    }
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        suggested_only: bool,
    ) -> Asked<'a, get_hierarchy::v1::Response> {
        self.away.hierarchy(server, room_id, suggested_only)
    }
    fn resolve_alias<'a>(
        &'a self,
        alias: &'a RoomAliasId,
    ) -> Asked<'a, (OwnedRoomId, Vec<OwnedServerName>)> {
        self.away.resolve_alias(alias)
    }
    fn profile<'a>(&'a self, user: &'a UserId) -> Asked<'a, serde_json::Map<String, Value>> {
        self.away.profile(user)
    }
    fn tell(&self, _: Vec<OwnedServerName>, _: Message) {}
    fn queue(
        &self,
        servers: Vec<OwnedServerName>,
        message: Message,
    ) -> BoxFuture<'_, Result<(), hearth_store::Error>> {
        self.away.queue(servers, message)
    }
    fn query_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Asked<'a, get_keys::v1::Response> {
        self.away.query_keys(server, wanted)
    }
    fn claim_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: claim_keys::v1::OneTimeKeyClaims,
    ) -> Asked<'a, claim_keys::v1::OneTimeKeys> {
        self.away.claim_keys(server, wanted)
    }
    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        request: get_public_rooms_filtered::v1::Request,
    ) -> Asked<'a, get_public_rooms_filtered::v1::Response> {
        self.away.public_rooms(server, request)
    }
    fn verify(
        &self,
        events: Vec<Pdu>,
        version: RoomVersion,
    ) -> BoxFuture<'_, Result<Vec<Result<Pdu, BadSignature>>, hearth_store::Error>> {
        self.away.verify(events, version)
    }
}
