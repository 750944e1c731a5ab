//! Owns asking the policy server of a room about events, ours and those of others, and what becomes of those that it does not
//! recommend. Must never ask about rooms in which that server is not.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#policy-servers>

use hearth_protocol::{Denied, Pdu, PolicyServer, RoomVersion, needs_policy};
use hearth_store::View;
use ruma::RoomId;

use crate::{Error, Rooms, StoredEvent, plan::Plan};

/// The type of the state event that names the server.
pub(crate) const POLICY: &str = "m.room.policy";

impl Rooms {
    /// The server that a policy names, if it is in the room.
    async fn policy_server(
        &self,
        view: &View,
        room_id: &RoomId,
        policy: Option<&StoredEvent>,
    ) -> Result<Option<PolicyServer>, Error> {
        let Some(server) = policy.and_then(|policy| PolicyServer::of(&policy.pdu)) else {
            return Ok(None);
        };
        let is_there = self.is_server_in_room(view, server.server(), room_id);
        Ok(is_there.await?.then_some(server))
    }

    /// The event with the signature of the server, which is asked for it unless it is there.
    async fn signed_by(
        &self,
        server: &PolicyServer,
        pdu: Pdu,
        version: RoomVersion,
    ) -> Result<Pdu, Error> {
        if !needs_policy(&pdu) || server.recommends(&pdu, version) {
            return Ok(pdu);
        }
        let signature = match server.server() == self.server_name() {
            true => self.recommend_here(&pdu, version)?,
            false => {
                let asked = self.remote()?.recommend(server.server(), &pdu);
                asked.await?
            }
        };
        let signed = server.add(&pdu, version, signature)?;
        match server.recommends(&signed, version) {
            true => Ok(signed),
            false => Err(Error::forbidden(
                "the signature of the room's policy server is wrong",
            )),
        }
    }

    /// An event that came in, with the signature of the room's policy server, if that has one and gives it. Without, it is
    /// soft-failed.
    pub(crate) async fn recommended_now(&self, pdu: Pdu) -> Result<Pdu, Error> {
        let view = &self.0.store.view().await?;
        let head = &self.known_head(view, pdu.room_id()).await?;
        let policy = self.state_event(view, head, head.state, POLICY, "").await?;
        let server = self.policy_server(view, pdu.room_id(), policy.as_deref());
        let Some(server) = server.await? else {
            return Ok(pdu);
        };
        match self.signed_by(&server, pdu.clone(), head.version).await {
            Ok(signed) => Ok(signed),
            Err(Error::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::debug!(event = %pdu.event_id(), %error, "not recommended");
                Ok(pdu)
            }
        }
    }
}

impl Plan {
    async fn policy_server(&self, room_id: &RoomId) -> Result<Option<PolicyServer>, Error> {
        let policy = self.state(POLICY, "").await?;
        let policy = policy.as_deref();
        self.rooms.policy_server(&self.view, room_id, policy).await
    }

    /// An event of this server, signed by the room's policy server if that has one. Others wait for the room meanwhile.
    ///
    /// # Errors
    /// `Forbidden` and others as the policy server says; `Unreachable` when it does not answer.
    pub(crate) async fn recommended(&self, pdu: Pdu) -> Result<Pdu, Error> {
        match self.policy_server(pdu.room_id()).await? {
            Some(server) => self.rooms.signed_by(&server, pdu, self.head.version).await,
            None => Ok(pdu),
        }
    }

    /// Whether the room's policy server recommends an event. Of a room into which this server comes with the event nobody could be
    /// asked before.
    pub(crate) async fn check_policy(&self, pdu: &Pdu) -> Result<Result<(), Denied>, Error> {
        if !needs_policy(pdu) || self.head.extremities.is_empty() {
            return Ok(Ok(()));
        }
        let server = self.policy_server(pdu.room_id()).await?;
        if server.is_none_or(|server| server.recommends(pdu, self.head.version)) {
            return Ok(Ok(()));
        }
        let reason = "the room's policy server does not recommend it".to_owned();
        Ok(Err(Denied { reason }))
    }
}
