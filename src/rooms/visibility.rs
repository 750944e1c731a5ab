//! Owns who may see which event. Must never ask what a user is now where it matters what they were then.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-history-visibility>

use std::sync::Arc;

use hearth_store::{Position, View};
use ruma::{RoomId, UserId, events::room::history_visibility::HistoryVisibility};
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
        let head = self.known_head(view, event.pdu.room_id()).await?;
        let mut reader = self
            .reader(view, &head, reader, event.pdu.room_id())
            .await?;
        reader.sees(event).await
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
        let mut reader = self.reader(view, head, reader, first.pdu.room_id()).await?;
        let mut kept = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            if reader.sees(&event).await? {
                kept.push(event);
            }
        }
        *events = kept;
        Ok(())
    }

    /// A reader of the room of `head`.
    pub(crate) async fn reader<'a>(
        &'a self,
        view: &'a View,
        head: &'a Head,
        user: &'a UserId,
        room_id: &RoomId,
    ) -> Result<RoomReader<'a>, Error> {
        Ok(RoomReader {
            rooms: self,
            view,
            head,
            user,
            member: self.remembered(view, user, room_id).await?,
            setting: None,
        })
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

/// Who reads a room, with what is the same for all its events.
pub(crate) struct RoomReader<'a> {
    rooms: &'a Rooms,
    view: &'a View,
    head: &'a Head,
    user: &'a UserId,
    /// The membership, unless they forgot the room.
    member: Option<Member>,
    /// The setting in the state that was looked at last: between two changes of state it is the same for all.
    setting: Option<(Root, HistoryVisibility)>,
}

impl RoomReader<'_> {
    /// Whether they may see the event, which has to be one of the room.
    pub(crate) async fn sees(&mut self, event: &StoredEvent) -> Result<bool, Error> {
        if event.pdu.is_rejected() {
            return Ok(false);
        }
        let own = event.pdu.is("m.room.member", self.user.as_str());
        if own && self.member.is_some() {
            return Ok(true);
        }
        let before = self.setting_at(event.state_before).await?;
        let setting = match event.pdu.is("m.room.history_visibility", "") {
            // Seen if either the old or the new setting shows it.
            true => most_open(before, self.setting_at(event.state_after).await?),
            false => before,
        };
        if setting == HistoryVisibility::WorldReadable {
            return Ok(true);
        }
        let Some(member) = &self.member else {
            return Ok(false);
        };
        if setting == HistoryVisibility::Shared && member.membership == Membership::Join {
            return Ok(true);
        }
        let (rooms, view, head, user) = (self.rooms, self.view, self.head, self.user);
        let then = rooms
            .membership_at(view, head, event.state_before, user)
            .await?;
        match (setting, then) {
            (_, Membership::Join) | (HistoryVisibility::Invited, Membership::Invite) => Ok(true),
            (HistoryVisibility::Shared, _) => {
                rooms
                    .joined_after(view, head, user, member, event.position)
                    .await
            }
            _ => Ok(false),
        }
    }

    async fn setting_at(&mut self, root: Root) -> Result<HistoryVisibility, Error> {
        if let Some((known, setting)) = &self.setting
            && *known == root
        {
            return Ok(setting.clone());
        }
        let setting = self.rooms.visibility_at(self.view, self.head, root).await?;
        self.setting = Some((root, setting.clone()));
        Ok(setting)
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
