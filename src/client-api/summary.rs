//! Owns the summary of a room: what may be told of it to somebody who may see that it exists. Whether somebody may is
//! decided by the caller.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-summaries>

use hearth_rooms::Head;
use hearth_store::View;
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, RoomId, UInt,
    room::{JoinRule, JoinRuleSummary, RoomSummary, RoomType},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{App, error::Error};

#[derive(Default, Deserialize)]
struct Create {
    #[serde(rename = "type")]
    room_type: Option<RoomType>,
}

#[derive(Default, Deserialize)]
struct Name {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Topic {
    topic: Option<String>,
}

#[derive(Default, Deserialize)]
struct Avatar {
    url: Option<OwnedMxcUri>,
}

#[derive(Default, Deserialize)]
struct Alias {
    alias: Option<OwnedRoomAliasId>,
}

#[derive(Default, Deserialize)]
struct Encryption {
    algorithm: Option<String>,
}

#[derive(Default, Deserialize)]
struct Guests {
    guest_access: Option<String>,
}

#[derive(Default, Deserialize)]
struct History {
    history_visibility: Option<String>,
}

/// The summary of `room` as it stands in `view`; `None` if this server does not know the room.
pub(crate) async fn summary(
    app: &App,
    view: &View,
    room: &RoomId,
) -> Result<Option<RoomSummary>, Error> {
    let Some(head) = app.rooms.head(view, room).await? else {
        return Ok(None);
    };
    let state = State {
        app,
        view,
        head: &head,
    };
    let guests: Guests = state.content("m.room.guest_access").await?;
    let history: History = state.content("m.room.history_visibility").await?;
    let mut summary = RoomSummary::new(
        room.to_owned(),
        state.join_rule().await?,
        guests.guest_access.as_deref() == Some("can_join"),
        UInt::try_from(head.joined).unwrap_or(UInt::MAX),
        history.history_visibility.as_deref() == Some("world_readable"),
    );
    summary.name = state.content::<Name>("m.room.name").await?.name;
    summary.topic = state.content::<Topic>("m.room.topic").await?.topic;
    summary.avatar_url = state.content::<Avatar>("m.room.avatar").await?.url;
    summary.canonical_alias = state
        .content::<Alias>("m.room.canonical_alias")
        .await?
        .alias;
    summary.room_type = state.content::<Create>("m.room.create").await?.room_type;
    summary.encryption = state
        .content::<Encryption>("m.room.encryption")
        .await?
        .algorithm
        .map(Into::into);
    summary.room_version = Some(head.version.id().clone());
    Ok(Some(summary))
}

/// The present state of a room.
struct State<'a> {
    app: &'a App,
    view: &'a View,
    head: &'a Head,
}

impl State<'_> {
    /// The content of the state event with an empty key; its default where there is none or it is not what it should be.
    async fn content<T: DeserializeOwned + Default>(&self, event_type: &str) -> Result<T, Error> {
        let event = self
            .app
            .rooms
            .state_event(self.view, self.head, self.head.state, event_type, "")
            .await?;
        Ok(event
            .and_then(|event| serde_json::from_str(event.pdu.content().get()).ok())
            .unwrap_or_default())
    }

    /// Who may join; by invitation only where the room does not say.
    async fn join_rule(&self) -> Result<JoinRuleSummary, Error> {
        let event = self
            .app
            .rooms
            .state_event(
                self.view,
                self.head,
                self.head.state,
                "m.room.join_rules",
                "",
            )
            .await?;
        Ok(event.map_or(JoinRuleSummary::Invite, |event| {
            join_rule(event.pdu.content().get())
        }))
    }
}

fn join_rule(content: &str) -> JoinRuleSummary {
    serde_json::from_str::<JoinRule>(content).map_or(JoinRuleSummary::Invite, Into::into)
}
