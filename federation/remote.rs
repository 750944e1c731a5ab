//! Owns what rooms ask of other servers, as calls. Must never judge an answer: rooms do.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::BoxFuture;
use hearth_protocol::{BadSignature, Pdu, RoomVersion, federation_json};
use hearth_rooms::{
    Asked, JoinedState, Membership, Message, NoAnswer, Remote, StateIds, Template, heads_of,
};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName,
    OwnedUserId, RoomAliasId, RoomId, RoomVersionId, ServerName, UInt, UserId,
    api::{
        Direction,
        federation::{
            authorization::get_event_authorization,
            backfill::get_backfill,
            directory::get_public_rooms_filtered,
            event::{
                get_event, get_event_by_timestamp, get_missing_events, get_room_state,
                get_room_state_ids,
            },
            keys::{claim_keys, get_keys},
            membership::{
                RawStrippedState, create_invite, create_join_event, create_knock_event,
                create_leave_event, prepare_join_event, prepare_knock_event, prepare_leave_event,
            },
            policy::sign_event,
            query::{get_profile_information, get_room_information},
            space::get_hierarchy,
        },
    },
};
use serde_json::value::RawValue;

use crate::{
    outbound,
    reach::{CallError, Manner, Peers},
};

/// How a server is asked for a whole room.
const WHOLE_ROOM: Manner = Manner {
    patience: Duration::from_secs(180),
    max_answer: 512 << 20,
    ..Manner::WAITED_FOR
};

/// How a server is asked for part of a room's graph.
const GRAPH: Manner = Manner {
    patience: Duration::from_secs(60),
    max_answer: 64 << 20,
    ..Manner::WAITED_FOR
};

/// How many servers of a room are taken from an answer.
const MAX_NAMED: usize = 10_000;

/// How a server is asked for one thing of many.
const BRIEF: Manner = Manner {
    patience: Duration::from_secs(10),
    ..Manner::WAITED_FOR
};

impl From<CallError> for NoAnswer {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused {
                status,
                errcode,
                message,
                ..
            } => Self::Refused {
                status,
                errcode,
                message,
            },
            other => Self::Unreachable(other.to_string()),
        }
    }
}

fn all_versions() -> Vec<RoomVersionId> {
    RoomVersion::ALL
        .into_iter()
        .map(|version| version.id().clone())
        .collect()
}

fn version(id: Option<RoomVersionId>) -> Option<RoomVersion> {
    // A server that says nothing means the first version.
    RoomVersion::parse(id.as_ref().map_or("1", |id| id.as_str()))
}

fn shown(state: Vec<RawStrippedState>) -> Vec<Box<RawValue>> {
    state
        .into_iter()
        .filter_map(|event| serde_json::value::to_raw_value(&event).ok())
        .collect()
}

/// A message as it goes into a transaction.
pub(crate) fn edu(message: &Message) -> Option<Box<RawValue>> {
    let edu = serde_json::json!({ "edu_type": message.kind, "content": message.content });
    serde_json::value::to_raw_value(&edu).ok()
}

fn number(limit: usize) -> UInt {
    UInt::try_from(limit).unwrap_or(UInt::MAX)
}

impl Remote for Peers {
    fn draft<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
        membership: Membership,
    ) -> Asked<'a, Template> {
        let (room_id, user) = (room_id.to_owned(), user.to_owned());
        Box::pin(async move {
            let manner = Manner::WAITED_FOR;
            let (version_id, event) = match membership {
                Membership::Knock => {
                    let mut request = prepare_knock_event::v1::Request::new(room_id, user);
                    request.ver = all_versions();
                    let answer = self.call(server, request, manner).await?;
                    (Some(answer.room_version), answer.event)
                }
                Membership::Leave => {
                    let request = prepare_leave_event::v1::Request::new(room_id, user);
                    let answer = self.call(server, request, manner).await?;
                    (answer.room_version, answer.event)
                }
                _ => {
                    let mut request = prepare_join_event::v1::Request::new(room_id, user);
                    request.ver = all_versions();
                    let answer = self.call(server, request, manner).await?;
                    (answer.room_version, answer.event)
                }
            };
            Ok(Template {
                version: version(version_id),
                event,
            })
        })
    }

    fn heads<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        user: &'a UserId,
    ) -> Asked<'a, Vec<OwnedEventId>> {
        let request = prepare_leave_event::v1::Request::new(room_id.to_owned(), user.to_owned());
        Box::pin(async move {
            let answer = self.call(server, request, Manner::BACKGROUND).await?;
            Ok(heads_of(&answer.event))
        })
    }

    fn recommend<'a>(&'a self, server: &'a ServerName, pdu: &'a Pdu) -> Asked<'a, String> {
        let request = sign_event::v1::Request::new(federation_json(pdu));
        Box::pin(async move {
            let answer = self.call(server, request, BRIEF).await?;
            let signature = answer.ed25519_signature(server).map(str::to_owned);
            signature.ok_or_else(|| NoAnswer::Unreachable("there is no signature".to_owned()))
        })
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        join: &'a Pdu,
        omit_members: bool,
    ) -> Asked<'a, JoinedState> {
        Box::pin(async move {
            let (room_id, event_id) = (join.room_id().to_owned(), join.event_id().to_owned());
            let json = federation_json(join);
            let mut request = create_join_event::v2::Request::new(room_id, event_id, json);
            request.omit_members = omit_members;
            let answer = self.call(server, request, WHOLE_ROOM).await?.room_state;
            let named = answer.servers_in_room.unwrap_or_default().into_iter();
            let named = named.filter_map(|server| OwnedServerName::try_from(server).ok());
            let named = named.take(MAX_NAMED);
            Ok(JoinedState {
                state: answer.state,
                auth_chain: answer.auth_chain,
                event: answer.event,
                without_members: answer.members_omitted.then(|| named.collect()),
            })
        })
    }

    fn send_leave<'a>(&'a self, server: &'a ServerName, leave: &'a Pdu) -> Asked<'a, ()> {
        Box::pin(async move {
            let (room_id, event_id) = (leave.room_id().to_owned(), leave.event_id().to_owned());
            let json = federation_json(leave);
            let request = create_leave_event::v2::Request::new(room_id, event_id, json);
            self.call(server, request, Manner::WAITED_FOR).await?;
            Ok(())
        })
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        knock: &'a Pdu,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let (room_id, event_id) = (knock.room_id().to_owned(), knock.event_id().to_owned());
            let json = federation_json(knock);
            let request = create_knock_event::v1::Request::new(room_id, event_id, json);
            let answer = self.call(server, request, Manner::WAITED_FOR).await?;
            Ok(shown(answer.knock_room_state))
        })
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        version: RoomVersion,
        invite: &'a Pdu,
        shown: Vec<Box<RawValue>>,
    ) -> Asked<'a, Box<RawValue>> {
        Box::pin(async move {
            let request = create_invite::v2::Request::new(
                invite.room_id().to_owned(),
                invite.event_id().to_owned(),
                version.id().clone(),
                federation_json(invite),
                shown.into_iter().map(RawStrippedState::Pdu).collect(),
            );
            Ok(self.call(server, request, Manner::WAITED_FOR).await?.event)
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
            let room_id = room_id.to_owned();
            let mut request = get_missing_events::v1::Request::new(room_id, earliest, latest);
            request.limit = number(limit);
            Ok(self.call(server, request, GRAPH).await?.events)
        })
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, StateIds> {
        Box::pin(async move {
            let request =
                get_room_state_ids::v1::Request::new(event_id.to_owned(), room_id.to_owned());
            let answer = self.call(server, request, GRAPH).await?;
            Ok(StateIds {
                state: answer.pdu_ids,
                auth_chain: answer.auth_chain_ids,
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
            let (room_id, event_id) = (room_id.to_owned(), event_id.to_owned());
            let request = get_room_state::v1::Request::new(event_id, room_id);
            let answer = self.call(server, request, WHOLE_ROOM).await?;
            Ok(JoinedState {
                state: answer.pdus,
                auth_chain: answer.auth_chain,
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
            let request = get_event::v1::Request::new(event_id.to_owned());
            Ok(self.call(server, request, Manner::WAITED_FOR).await?.pdu)
        })
    }

    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> Asked<'a, Vec<Box<RawValue>>> {
        Box::pin(async move {
            let (room_id, event_id) = (room_id.to_owned(), event_id.to_owned());
            let request = get_event_authorization::v1::Request::new(room_id, event_id);
            Ok(self.call(server, request, GRAPH).await?.auth_chain)
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
            let request = get_backfill::v1::Request::new(room_id.to_owned(), from, number(limit));
            Ok(self.call(server, request, GRAPH).await?.pdus)
        })
    }

    fn event_near<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: hearth_store::Direction,
    ) -> Asked<'a, (OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        Box::pin(async move {
            let direction = match direction {
                hearth_store::Direction::Forward => Direction::Forward,
                hearth_store::Direction::Backward => Direction::Backward,
            };
            let room_id = room_id.to_owned();
            let request = get_event_by_timestamp::v1::Request::new(room_id, time, direction);
            let answer = self.call(server, request, Manner::WAITED_FOR).await?;
            Ok((answer.event_id, answer.origin_server_ts))
        })
    }

    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        suggested_only: bool,
    ) -> Asked<'a, get_hierarchy::v1::Response> {
        Box::pin(async move {
            let mut request = get_hierarchy::v1::Request::new(room_id.to_owned());
            request.suggested_only = suggested_only;
            Ok(self.call(server, request, BRIEF).await?)
        })
    }

    fn resolve_alias<'a>(
        &'a self,
        alias: &'a RoomAliasId,
    ) -> Asked<'a, (OwnedRoomId, Vec<OwnedServerName>)> {
        Box::pin(async move {
            let server = alias.server_name();
            let request = get_room_information::v1::Request::new(alias.to_owned());
            let answer = self.call(server, request, Manner::WAITED_FOR).await?;
            Ok((answer.room_id, answer.servers))
        })
    }

    fn profile<'a>(
        &'a self,
        user: &'a UserId,
    ) -> Asked<'a, serde_json::Map<String, serde_json::Value>> {
        Box::pin(async move {
            let request = get_profile_information::v1::Request::new(user.to_owned());
            let server = user.server_name();
            let answer = self.call(server, request, Manner::WAITED_FOR).await?;
            Ok(answer.into_iter().collect())
        })
    }

    fn tell(&self, servers: Vec<OwnedServerName>, message: Message) {
        let Some(json) = edu(&message) else { return };
        for server in servers {
            self.ephemeral().add(server.clone(), json.clone());
            self.tell_news(&server);
        }
    }

    fn queue(
        &self,
        servers: Vec<OwnedServerName>,
        message: Message,
    ) -> BoxFuture<'_, Result<(), hearth_store::Error>> {
        Box::pin(async move {
            let Some(json) = edu(&message) else {
                return Ok(());
            };
            outbound::queue(self.store(), &servers, json.get()).await?;
            servers.iter().for_each(|server| self.tell_news(server));
            Ok(())
        })
    }

    fn query_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Asked<'a, get_keys::v1::Response> {
        Box::pin(async move {
            let request = get_keys::v1::Request::new(wanted);
            Ok(self.call(server, request, Manner::WAITED_FOR).await?)
        })
    }

    fn claim_keys<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: claim_keys::v1::OneTimeKeyClaims,
    ) -> Asked<'a, claim_keys::v1::OneTimeKeys> {
        Box::pin(async move {
            let request = claim_keys::v1::Request::new(wanted);
            Ok(self
                .call(server, request, Manner::WAITED_FOR)
                .await?
                .one_time_keys)
        })
    }

    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        request: get_public_rooms_filtered::v1::Request,
    ) -> Asked<'a, get_public_rooms_filtered::v1::Response> {
        Box::pin(async move { Ok(self.call(server, request, Manner::WAITED_FOR).await?) })
    }

    fn verify(
        &self,
        events: Vec<Pdu>,
        version: RoomVersion,
    ) -> BoxFuture<'_, Result<Vec<Result<Pdu, BadSignature>>, hearth_store::Error>> {
        Box::pin(self.verified(events, version))
    }
}
