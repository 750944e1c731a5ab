//! Owns asking the rules about an event that came in: by what it names, the state before it, the state of the room. Must never
//! fail for what another server may send: such an event is marked.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::collections::HashMap;

use hearth_protocol::{Denied, Pdu, auth_types, check_named, check_state, create_id};
use ruma::OwnedEventId;

use crate::{Error, plan::Plan, state::Root};

/// The type of memberships.
const MEMBER: &str = "m.room.member";

/// What the rules say about an event.
pub(super) enum Mark {
    Accepted,
    SoftFailed(Denied),
    Rejected(Denied),
}

impl Plan {
    /// Asks the rules, in their order: what the event names, the state before it, the current state.
    pub(super) async fn judge(&mut self, pdu: &Pdu, state_before: Root) -> Result<Mark, Error> {
        if let Mark::Rejected(denied) = self.judge_then(pdu, state_before).await? {
            return Ok(Mark::Rejected(denied));
        }
        if !self.lacks_members()
            && state_before != self.head.state
            && self.head.state != Root::EMPTY
            && let Err(denied) = self.allowed_in(self.head.state, pdu).await?
        {
            return Ok(Mark::SoftFailed(denied));
        }
        if let Err(denied) = self.check_policy(pdu).await? {
            return Ok(Mark::SoftFailed(denied));
        }
        Ok(Mark::Accepted)
    }

    /// Asks the rules for where the event stands: what it names, and the state before it.
    pub(super) async fn judge_then(
        &mut self,
        pdu: &Pdu,
        state_before: Root,
    ) -> Result<Mark, Error> {
        let version = self.head.version;
        let mut known = HashMap::new();
        let create = create_id(version, pdu.room_id());
        for id in pdu.auth_events().iter().chain(&create) {
            if let Some(event) = self.event(id).await? {
                known.insert(id.clone(), event.pdu.clone());
            }
        }
        if let Err(denied) = check_named(version, pdu, &known) {
            return Ok(Mark::Rejected(denied));
        }
        let state = match self.lacks_members() {
            true => self.with_named(state_before, &known).await?,
            false => state_before,
        };
        match self.allowed_in(state, pdu).await? {
            Err(denied) => Ok(Mark::Rejected(denied)),
            Ok(()) => Ok(Mark::Accepted),
        }
    }

    /// Whether the states of the room lack members.
    fn lacks_members(&self) -> bool {
        self.partial.is_some() && !self.is_replaying
    }

    /// A state that lacks members, with those that an event names: where the state has another, both are resolved as if they
    /// were of two branches.
    async fn with_named(
        &mut self,
        state: Root,
        named: &HashMap<OwnedEventId, Pdu>,
    ) -> Result<Root, Error> {
        let (mut absent, mut other) = (Vec::new(), Vec::new());
        for (id, pdu) in named.iter().filter(|(_, pdu)| !pdu.is_rejected()) {
            let Some(user) = pdu.state_key().filter(|_| pdu.event_type() == MEMBER) else {
                continue;
            };
            let entry = (MEMBER.to_owned(), user.to_owned(), Some(id.clone()));
            match self.state_id(state, MEMBER, user).await? {
                None => absent.push(entry),
                Some(known) if known != *id => other.push(entry),
                Some(_) => {}
            }
        }
        let state = self.updated(state, &absent).await?;
        if other.is_empty() {
            return Ok(state);
        }
        let as_named = self.updated(state, &other).await?;
        self.resolved(&[state, as_named]).await
    }

    async fn allowed_in(&self, root: Root, pdu: &Pdu) -> Result<Result<(), Denied>, Error> {
        let version = self.head.version;
        let types = auth_types(
            pdu.event_type(),
            pdu.sender(),
            pdu.state_key(),
            pdu.content(),
            version,
        );
        let types = match types {
            Ok(types) => types,
            Err(denied) => return Ok(Err(denied)),
        };
        let mut state = HashMap::with_capacity(types.len() + 1);
        let create = ("m.room.create".to_owned(), String::new());
        for (event_type, state_key) in types.into_iter().chain([create]) {
            if let Some(event) = self.state_in(root, &event_type, &state_key).await? {
                state.insert((event_type, state_key), event.pdu.clone());
            }
        }
        Ok(check_state(version, pdu, |event_type, state_key| {
            state
                .get(&(event_type.to_owned(), state_key.to_owned()))
                .cloned()
        }))
    }
}
