//! A server that nobody can ask, for what comes in without being asked for; or one that tells what comes before an event and
//! no more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::BoxFuture;
use hearth_protocol::{BadSignature, Pdu, RoomVersion};
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

use crate::{Asked, JoinedState, Membership, Message, NoAnswer, Remote, StateIds, Template};

/// Gives the signature of an event.
pub(super) type PolicySigner = Box<dyn Fn(&Pdu) -> String + Send + Sync>;

/// A server that nobody can ask, whose signatures hold.
#[derive(Default)]
pub(super) struct Away {
    /// What it tells of the events before one, if anything.
    pub(super) before: Mutex<Vec<Box<RawValue>>>,
    /// The heads that it tells of every room.
    pub(super) heads: Mutex<Vec<OwnedEventId>>,
    /// The events that it gives.
    pub(super) events: Mutex<HashMap<OwnedEventId, Box<RawValue>>>,
    /// How it signs as a policy server; nothing: it refuses.
    pub(super) policy: Mutex<Option<PolicySigner>>,
    /// How often it was asked to.
    pub(super) asked_for_policy: AtomicUsize,
    /// How many events were checked at once at most.
    pub(super) checked_together: AtomicUsize,
    /// How often it was asked for a state.
    pub(super) asked_for_states: AtomicUsize,
}

fn silence<'a, T: Send + 'a>() -> Asked<'a, T> {
    Box::pin(async { Err(NoAnswer::Unreachable("away".to_owned())) })
}

impl Remote for Away {
    fn heads<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a UserId,
    ) -> Asked<'a, Vec<OwnedEventId>> {
        let heads = self.heads.lock().clone();
        Box::pin(async { Ok(heads) })
    }
    fn recommend<'a>(&'a self, _: &'a ServerName, pdu: &'a Pdu) -> Asked<'a, String> {
        let policy = self.policy.lock();
        self.asked_for_policy.fetch_add(1, Ordering::Relaxed);
        let answer = match policy.as_ref() {
            Some(policy) => Ok(policy(pdu)),
            None => Err(NoAnswer::Refused {
                status: 400,
                errcode: "M_FORBIDDEN".to_owned(),
                message: "it looks like spam".to_owned(),
            }),
        };
        Box::pin(async { answer })
    }
    fn draft<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a UserId,
        _: Membership,
    ) -> Asked<'a, Template> {
        silence()
    }
    fn send_join<'a>(&'a self, _: &'a ServerName, _: &'a Pdu, _: bool) -> Asked<'a, JoinedState> {
        silence()
    }
    fn send_leave<'a>(&'a self, _: &'a ServerName, _: &'a Pdu) -> Asked<'a, ()> {
        silence()
    }
    fn send_knock<'a>(&'a self, _: &'a ServerName, _: &'a Pdu) -> Asked<'a, Vec<Box<RawValue>>> {
        silence()
    }
    fn invite<'a>(
        &'a self,
        _: &'a ServerName,
        _: RoomVersion,
        _: &'a Pdu,
        _: Vec<Box<RawValue>>,
    ) -> Asked<'a, Box<RawValue>> {
        silence()
    }
    fn missing_events<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: Vec<OwnedEventId>,
        _: Vec<OwnedEventId>,
        _: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        let before = self.before.lock().clone();
        match before.is_empty() {
            true => silence(),
            false => Box::pin(async { Ok(before) }),
        }
    }
    fn state_ids<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> Asked<'a, StateIds> {
        self.asked_for_states.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            Err(NoAnswer::Refused {
                status: 404,
                errcode: "M_NOT_FOUND".to_owned(),
                message: "not told".to_owned(),
            })
        })
    }
    fn state<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> Asked<'a, JoinedState> {
        silence()
    }
    fn event<'a>(&'a self, _: &'a ServerName, id: &'a EventId) -> Asked<'a, Box<RawValue>> {
        match self.events.lock().get(id).cloned() {
            Some(event) => Box::pin(async { Ok(event) }),
            None => silence(),
        }
    }
    fn event_auth<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        silence()
    }
    fn backfill<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: Vec<OwnedEventId>,
        _: usize,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        silence()
    }
    fn event_near<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: MilliSecondsSinceUnixEpoch,
        _: Direction,
    ) -> Asked<'a, (OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        silence()
    }
    fn hierarchy<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: bool,
    ) -> Asked<'a, get_hierarchy::v1::Response> {
        silence()
    }
    fn resolve_alias<'a>(
        &'a self,
        _: &'a RoomAliasId,
    ) -> Asked<'a, (OwnedRoomId, Vec<OwnedServerName>)> {
        silence()
    }
    fn profile<'a>(&'a self, _: &'a UserId) -> Asked<'a, serde_json::Map<String, Value>> {
        silence()
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
        silence()
    }
    fn claim_keys<'a>(
        &'a self,
        _: &'a ServerName,
        _: claim_keys::v1::OneTimeKeyClaims,
    ) -> Asked<'a, claim_keys::v1::OneTimeKeys> {
        silence()
    }
    fn public_rooms<'a>(
        &'a self,
        _: &'a ServerName,
        _: get_public_rooms_filtered::v1::Request,
    ) -> Asked<'a, get_public_rooms_filtered::v1::Response> {
        silence()
    }
    fn verify(
        &self,
        events: Vec<Pdu>,
        _: RoomVersion,
    ) -> BoxFuture<'_, Result<Vec<Result<Pdu, BadSignature>>, hearth_store::Error>> {
        let together = &self.checked_together;
        together.fetch_max(events.len(), Ordering::Relaxed);
        Box::pin(async move { Ok(events.into_iter().map(Ok).collect()) })
    }
}
