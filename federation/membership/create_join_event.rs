//! `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`

use hearth_protocol::federation_json;
use hearth_rooms::Membership;
use ruma::{
    OwnedServerName,
    api::federation::membership::create_join_event::v2::{Request, Response, RoomState},
};

use crate::{Error, Federation};

pub(super) async fn create_join_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let (room_id, event_id) = (request.room_id, request.event_id);
    let admitted = federation
        .rooms
        .admit(
            &origin,
            &room_id,
            &event_id,
            &request.pdu,
            Membership::Join,
            request.omit_members,
        )
        .await?;
    let mut state = RoomState::new();
    let events = |events: &[std::sync::Arc<hearth_rooms::StoredEvent>]| {
        events
            .iter()
            .map(|event| federation_json(&event.pdu))
            .collect()
    };
    state.state = events(&admitted.state.state);
    state.auth_chain = events(&admitted.state.auth_chain);
    state.event = Some(federation_json(&admitted.event));
    state.members_omitted = request.omit_members;
    let servers = admitted.servers.iter().map(ToString::to_string);
    state.servers_in_room = Some(servers.collect());
    Ok(Response::new(state))
}
