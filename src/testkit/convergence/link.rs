//! Owns how a simulated server asks another: a call of the other's rooms, as the endpoints for servers make it, unless a
//! partition is between them. Must never answer by itself what the other's rooms decide.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use futures_util::future::BoxFuture;
use hearth_protocol::{BadSignature, Pdu, PublicKeys, RoomVersion, federation_json, verify_event};
use hearth_rooms::{
    Asked, Error, JoinedState, Membership, Message, NoAnswer, Remote, RemoteInvite, Rooms,
    StateIds, StateOf, Template,
};
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
use serde_json::value::RawValue;

/// What connects the servers. The servers hold it, so it holds none.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) servers: Mutex<BTreeMap<OwnedServerName, Rooms>>,
    pub(crate) keys: Mutex<PublicKeys>,
    /// To which side of the present partition a server belongs.
    pub(crate) sides: Mutex<BTreeMap<OwnedServerName, usize>>,
}

impl Wire {
    /// Whether the two can speak with each other now.
    pub(crate) fn connects(&self, one: &ServerName, other: &ServerName) -> bool {
        let sides = self.sides.lock();
        sides.get(one) == sides.get(other)
    }
}

/// The way of one server to the others.
pub(crate) struct Link {
    pub(crate) own: OwnedServerName,
    pub(crate) wire: Weak<Wire>,
}

impl Link {
    /// The rooms of a server, if it can be reached.
    fn reach(&self, server: &ServerName) -> Result<Rooms, NoAnswer> {
        let gone = || NoAnswer::Unreachable(format!("{server} is not reached"));
        let wire = self.wire.upgrade().ok_or_else(gone)?;
        if !wire.connects(&self.own, server) {
            return Err(gone());
        }
        let servers = wire.servers.lock();
        servers.get(server).cloned().ok_or_else(gone)
    }
}

/// As the endpoint of a server would say it.
fn refused(error: Error) -> NoAnswer {
    let (status, errcode) = match &error {
        Error::NotFound(_) => (404, "M_NOT_FOUND"),
        Error::Forbidden(_) => (403, "M_FORBIDDEN"),
        Error::Refused { .. } | Error::Malformed(_) => (400, "M_UNKNOWN"),
        _ => return NoAnswer::Unreachable(error.to_string()),
    };
    NoAnswer::Refused {
        status,
        errcode: errcode.to_owned(),
        message: error.to_string(),
    }
}

fn sent(events: &[Pdu]) -> Vec<Box<RawValue>> {
    events.iter().map(federation_json).collect()
}

fn told(state: &StateOf) -> JoinedState {
    let events = |events: &[Arc<hearth_rooms::StoredEvent>]| {
        events
            .iter()
            .map(|event| federation_json(&event.pdu))
            .collect()
    };
    JoinedState {
        state: events(&state.state),
        auth_chain: events(&state.auth_chain),
        ..JoinedState::default()
    }
}

fn nothing<'a, T: Send + 'a>() -> Asked<'a, T> {
    Box::pin(async { Err(NoAnswer::Unreachable("nobody is asked for this".to_owned())) })
}

impl Remote for Link {
    fn draft<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
        membership: Membership,
    ) -> Asked<'a, Template> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let draft = rooms.draft_for(&self.own, room_id, user, membership, None);
            let draft = draft.await.map_err(refused)?;
            Ok(Template {
                version: Some(draft.version),
                event: draft.event,
            })
        })
    }

    fn recommend<'a>(&'a self, _: &'a ServerName, _: &'a Pdu) -> Asked<'a, String> {
        nothing()
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        omit_members: bool,
    ) -> Asked<'a, JoinedState> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let (room, id, json) = (join.room_id(), join.event_id(), federation_json(join));
            let own = &self.own;
            let admitted = rooms.admit(own, room, id, &json, Membership::Join, omit_members);
            let admitted = admitted.await.map_err(refused)?;
            let mut joined = told(&admitted.state);
            joined.event = Some(federation_json(&admitted.event));
            joined.without_members = omit_members.then_some(admitted.servers);
            Ok(joined)
        })
    }

    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> Asked<'a, ()> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let (room, id, json) = (leave.room_id(), leave.event_id(), federation_json(leave));
            let admitted = rooms.admit(&self.own, room, id, &json, Membership::Leave, false);
            admitted.await.map(|_| ()).map_err(refused)
        })
    }

    fn send_knock<'a>(&'a self, _: &'a ServerName, _: &'a Pdu) -> Asked<'a, Vec<Box<RawValue>>> {
        nothing()
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        version: RoomVersion,
        invite: &'a Pdu,
        shown: Vec<Box<RawValue>>,
    ) -> Asked<'a, Box<RawValue>> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let invite = RemoteInvite {
                room_id: invite.room_id().to_owned(),
                event_id: invite.event_id().to_owned(),
                version,
                event: federation_json(invite),
                shown,
            };
            let signed = rooms
                .take_invite(&self.own, invite)
                .await
                .map_err(refused)?;
            Ok(federation_json(&signed))
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
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
            let ends = (&*earliest, &*latest);
            // As the endpoint does, so that gaps remain.
            let limit = limit.min(20);
            let found = rooms.missing_events_for(&view, &self.own, room_id, ends, limit);
            Ok(sent(&found.await.map_err(refused)?))
        })
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, StateIds> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
            let state = rooms.state_for(&view, &self.own, room_id, event_id);
            let state = state.await.map_err(refused)?;
            let ids = |events: &[Arc<hearth_rooms::StoredEvent>]| {
                events
                    .iter()
                    .map(|event| event.event_id().to_owned())
                    .collect()
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
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
            let state = rooms.state_for(&view, &self.own, room_id, event_id);
            Ok(told(&state.await.map_err(refused)?))
        })
    }

    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> Asked<'a, Box<RawValue>> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
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
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
            let chain = rooms.auth_chain_for(&view, &self.own, room_id, event_id);
            let chain = chain.await.map_err(refused)?;
            Ok(chain
                .iter()
                .map(|event| federation_json(&event.pdu))
                .collect())
        })
    }

    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let rooms = self.reach(server)?;
            let view = view(&rooms).await?;
            let found = rooms.backfill_for(&view, &self.own, room_id, &from, limit);
            Ok(sent(&found.await.map_err(refused)?))
        })
    }

    fn event_near<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: MilliSecondsSinceUnixEpoch,
        _: Direction,
    ) -> Asked<'a, (OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        nothing()
    }

    fn hierarchy<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: bool,
    ) -> Asked<'a, get_hierarchy::v1::Response> {
        nothing()
    }

    fn resolve_alias<'a>(
        &'a self,
        _: &'a RoomAliasId,
    ) -> Asked<'a, (OwnedRoomId, Vec<OwnedServerName>)> {
        nothing()
    }

    fn profile<'a>(
        &'a self,
        _: &'a UserId,
    ) -> Asked<'a, serde_json::Map<String, serde_json::Value>> {
        nothing()
    }

    fn tell(&self, _: Vec<OwnedServerName>, _: Message) {}

    fn queue(
        &self,
        _: Vec<OwnedServerName>,
        _: Message,
    ) -> BoxFuture<'_, Result<(), hearth_store::Error>> {
        Box::pin(async { Ok(()) })
    }

    fn query_keys<'a>(
        &'a self,
        _: &'a ServerName,
        _: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Asked<'a, get_keys::v1::Response> {
        nothing()
    }

    fn claim_keys<'a>(
        &'a self,
        _: &'a ServerName,
        _: claim_keys::v1::OneTimeKeyClaims,
    ) -> Asked<'a, claim_keys::v1::OneTimeKeys> {
        nothing()
    }

    fn public_rooms<'a>(
        &'a self,
        _: &'a ServerName,
        _: get_public_rooms_filtered::v1::Request,
    ) -> Asked<'a, get_public_rooms_filtered::v1::Response> {
        nothing()
    }

    fn verify(
        &self,
        events: Vec<Pdu>,
        version: RoomVersion,
    ) -> BoxFuture<'_, Result<Vec<Result<Pdu, BadSignature>>, hearth_store::Error>> {
        let keys = self.wire.upgrade().map(|wire| wire.keys.lock().clone());
        let keys = keys.unwrap_or_default();
        let checked = events.iter().map(|pdu| verify_event(pdu, version, &keys));
        let checked = checked.collect();
        Box::pin(async { Ok(checked) })
    }
}

async fn view(rooms: &Rooms) -> Result<hearth_store::View, NoAnswer> {
    let view = rooms.view().await;
    view.map_err(|error| NoAnswer::Unreachable(error.to_string()))
}
