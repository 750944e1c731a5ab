//! `POST /_matrix/client/v3/createRoom`

use hearth_protocol::{RoomVersion, check_content};
use hearth_rooms::{InitialState, NewRoom, Preset, Profile};
use hearth_users::Session;
use http::StatusCode;
use ruma::{
    OwnedUserId, RoomVersionId,
    api::{
        client::room::{
            Visibility,
            create_room::v3::{Request, Response, RoomPreset},
        },
        error::ErrorKind,
    },
    events::AnyInitialStateEvent,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{App, error::Error, faces, invitees, succession};

/// Users invited and state events given at once, at most.
const MOST: usize = 1000;

pub(super) async fn create_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if !request.invite_3pid.is_empty() {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            ErrorKind::ThreepidDenied,
            "this server invites by user id only",
        ));
    }
    if request.invite.len() > MOST || request.initial_state.len() > MOST {
        return Err(Error::too_large("too many invites or state events at once"));
    }
    let asked = request.room_version.as_ref().map(version).transpose()?;
    let room = NewRoom {
        profile: faces::face(&app, &session.user_id).await?,
        version: Some(asked.unwrap_or(app.settings.default_room_version)),
        preset: request.preset.as_ref().map(preset).transpose()?,
        is_public: request.visibility == Visibility::Public,
        name: request.name,
        topic: request.topic,
        alias: request.room_alias_name,
        invite: invitees(&app, request.invite).await?,
        is_direct: request.is_direct,
        initial_state: request
            .initial_state
            .iter()
            .map(initial_state)
            .collect::<Result<_, _>>()?,
        creation_content: request.creation_content.map(checked).transpose()?,
        power_levels: request
            .power_level_content_override
            .map(checked)
            .transpose()?,
        ..NewRoom::by(session.user_id.clone())
    };
    let succeeds = room.creation_content.is_some();
    let room_id = app.rooms.create(room).await?;
    if succeeds {
        succession::carry_over(&app, &session.user_id, &room_id).await;
    }
    Ok(Response::new(room_id))
}

/// The version that is meant.
pub(super) fn version(id: &RoomVersionId) -> Result<RoomVersion, Error> {
    RoomVersion::parse(id.as_str()).ok_or_else(|| {
        Error::bad_request(
            ErrorKind::UnsupportedRoomVersion,
            "this server does not know that room version",
        )
    })
}

fn preset(preset: &RoomPreset) -> Result<Preset, Error> {
    match preset {
        RoomPreset::PrivateChat => Ok(Preset::PrivateChat),
        RoomPreset::TrustedPrivateChat => Ok(Preset::TrustedPrivateChat),
        RoomPreset::PublicChat => Ok(Preset::PublicChat),
        _ => Err(Error::invalid_param("no such preset")),
    }
}

/// A room is not made if one of those who were to be in it does not want to be invited.
async fn invitees(
    app: &App,
    users: Vec<OwnedUserId>,
) -> Result<Vec<(OwnedUserId, Profile)>, Error> {
    let mut known = Vec::with_capacity(users.len());
    for user in users {
        let profile = invitees::invitee(app, &user).await?;
        known.push((user, profile));
    }
    Ok(known)
}

fn initial_state(event: &Raw<AnyInitialStateEvent>) -> Result<InitialState, Error> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    let given: Given = serde_json::from_str(event.json().get())
        .map_err(|error| Error::bad_json(format!("initial_state: {error}")))?;
    check_content(&given.content)?;
    Ok(InitialState {
        event_type: given.event_type,
        state_key: given.state_key,
        content: given.content,
    })
}

fn checked<T>(content: Raw<T>) -> Result<Box<RawValue>, Error> {
    let content = content.into_json();
    check_content(&content)?;
    Ok(content)
}
