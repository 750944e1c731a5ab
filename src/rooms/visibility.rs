//! Owns who may see which event. Must never ask what a user is now where it matters what they were then.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-history-visibility>

use std::sync::Arc;

use hearth_store::{Position, View};
use ruma::{UserId, events::room::history_visibility::HistoryVisibility};
use serde::Deserialize;

use crate::{Error, Head, Member, Membership, Rooms, StoredEvent, state::Root};

/// How many of a user's memberships are walked back to find whether they once were joined.
const MAX_WALK: usize = 50;

impl Rooms {
    /// Whether `reader` may see the event.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn visible(
        &self,
        view: &View,
        reader: &UserId,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        let room_id = event.pdu.room_id();
        let member = self.remembered(view, reader, room_id).await?;
        let head = self.known_head(view, room_id).await?;
        self.visible_to(view, &head, reader, member.as_ref(), event)
            .await
    }

    /// Keeps those events, all of the room of `head`, that `reader` may see.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn retain_visible(
        &self,
        view: &View,
        head: &Head,
        reader: &UserId,
        events: &mut Vec<Arc<StoredEvent>>,
    ) -> Result<(), Error> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let member = self.remembered(view, reader, first.pdu.room_id()).await?;
        let mut kept = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            if self
                .visible_to(view, head, reader, member.as_ref(), &event)
                .await?
            {
                kept.push(event);
            }
        }
        *events = kept;
        Ok(())
    }

    /// As [`Rooms::visible`], for a reader whose (not forgotten) membership is known.
    async fn visible_to(
        &self,
        view: &View,
        head: &Head,
        reader: &UserId,
        member: Option<&Member>,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        if event.pdu.is_rejected() {
            return Ok(false);
        }
        let own = event.pdu.is("m.room.member", reader.as_str());
        if own && member.is_some() {
            return Ok(true);
        }
        let before = self.visibility_at(view, head, event.state_before).await?;
        let setting = match event.pdu.is("m.room.history_visibility", "") {
            // Seen if either the old or the new setting shows it.
            true => most_open(
                before,
                self.visibility_at(view, head, event.state_after).await?,
            ),
            false => before,
        };
        if setting == HistoryVisibility::WorldReadable {
            return Ok(true);
        }
        let Some(member) = member else {
            return Ok(false);
        };
        if setting == HistoryVisibility::Shared && member.membership == Membership::Join {
            return Ok(true);
        }
        let then = self
            .membership_at(view, head, event.state_before, reader)
            .await?;
        match (setting, then) {
            (_, Membership::Join) | (HistoryVisibility::Invited, Membership::Invite) => Ok(true),
            (HistoryVisibility::Shared, _) => {
                self.joined_after(view, head, reader, member, event.position)
                    .await
            }
            _ => Ok(false),
        }
    }

    /// Whether the user was joined at any moment after `position`.
    async fn joined_after(
        &self,
        view: &View,
        head: &Head,
        user: &UserId,
        member: &Member,
        position: Position,
    ) -> Result<bool, Error> {
        let mut event_id = member.event_id.clone();
        for _ in 0..MAX_WALK {
            let event = self.known_event(view, &event_id).await?;
            if event.position <= position {
                return Ok(false);
            }
            let before = self
                .state_event(
                    view,
                    head,
                    event.state_before,
                    "m.room.member",
                    user.as_str(),
                )
                .await?;
            let Some(before) = before else {
                return Ok(false);
            };
            if membership_of(before.pdu.content().get()) == Membership::Join {
                return Ok(true);
            }
            event_id = before.pdu.event_id().to_owned();
        }
        Ok(false)
    }

    /// Whether the user of this member event was joined at any moment before it.
    pub(crate) async fn was_joined(
        &self,
        view: &View,
        head: &Head,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        let Some(user) = event.pdu.state_key() else {
            return Ok(false);
        };
        let mut root = event.state_before;
        for _ in 0..MAX_WALK {
            let before = self
                .state_event(view, head, root, "m.room.member", user)
                .await?;
            let Some(before) = before else {
                return Ok(false);
            };
            if membership_of(before.pdu.content().get()) == Membership::Join {
                return Ok(true);
            }
            root = before.state_before;
        }
        Ok(false)
    }

    /// The setting in a state.
    pub(crate) async fn visibility_at(
        &self,
        view: &View,
        head: &Head,
        root: Root,
    ) -> Result<HistoryVisibility, Error> {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: HistoryVisibility,
        }
        let event = self
            .state_event(view, head, root, "m.room.history_visibility", "")
            .await?;
        let setting = event.and_then(|event| {
            serde_json::from_str::<Content>(event.pdu.content().get())
                .ok()
                .map(|content| content.history_visibility)
        });
        Ok(match setting {
            Some(
                known @ (HistoryVisibility::WorldReadable
                | HistoryVisibility::Shared
                | HistoryVisibility::Invited
                | HistoryVisibility::Joined),
            ) => known,
            _ => HistoryVisibility::Shared,
        })
    }

    /// What the user was in the state `root`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn membership_at(
        &self,
        view: &View,
        head: &Head,
        root: Root,
        user: &UserId,
    ) -> Result<Membership, Error> {
        let event = self
            .state_event(view, head, root, "m.room.member", user.as_str())
            .await?;
        Ok(event.map_or(Membership::Leave, |event| {
            membership_of(event.pdu.content().get())
        }))
    }
}

/// The membership in the content of a member event; `Leave` where it has none that is known.
#[must_use]
pub fn membership_of(content: &str) -> Membership {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: std::borrow::Cow<'a, str>,
    }
    serde_json::from_str::<Content<'_>>(content)
        .ok()
        .and_then(|content| Membership::parse(&content.membership))
        .unwrap_or(Membership::Leave)
}

fn most_open(a: HistoryVisibility, b: HistoryVisibility) -> HistoryVisibility {
    let rank = |setting: &HistoryVisibility| match setting {
        HistoryVisibility::WorldReadable => 0,
        HistoryVisibility::Shared => 1,
        HistoryVisibility::Invited => 2,
        _ => 3,
    };
    if rank(&a) <= rank(&b) { a } else { b }
}
