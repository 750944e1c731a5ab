//! Owns replacing a room by one of another version. Must never leave a new room without the old one pointing to it, nor the
//! other way: both change in one batch that asserts both heads.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-upgrades>

use std::sync::Arc;

use hearth_protocol::{Level, RoomVersion};
use hearth_store::{Batch, CommitError, View};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json, value::RawValue, value::to_raw_value};

use crate::{
    Error, Head, InitialState, NewEvent, NewRoom, Profile, Refusal, Rooms, StoredEvent,
    alias::{ALIASES, AliasTarget, PUBLISHED, ROOM_ALIASES},
    plan::Plan,
    queue::MAX_TRIES,
    state::Which,
};

/// The state that the new room takes over, apart from power levels and bans.
const KEPT: [&str; 9] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.space.child",
];

/// How many bans and other entries the new room takes over.
const MAX_KEPT: usize = 400;

impl Rooms {
    /// Replaces a room by a new one, which takes over its settings, bans, aliases and place in the directory. Returns the
    /// new room; the old one gets a tombstone that points there.
    ///
    /// # Errors
    /// `Forbidden` when the user may not, `NotFound`; those of [`Rooms::create`] and [`Rooms::send`].
    pub async fn upgrade(
        &self,
        room_id: &RoomId,
        user: &UserId,
        profile: Profile,
        version: RoomVersion,
        additional_creators: Vec<OwnedUserId>,
    ) -> Result<OwnedRoomId, Error> {
        // Who is banned is banned in the new room too.
        self.await_members(room_id).await?;
        for attempt in 0..MAX_TRIES {
            let old = Plan::open(self, room_id.to_owned())
                .await?
                .ok_or_else(|| Error::not_found("there is no such room"))?;
            let mut room = self
                .successor(&old, room_id, user, version, &additional_creators)
                .await?;
            room.profile = profile.clone();
            let new = self.plan_room(&room, None, self.shift(attempt)).await?;
            let id = new.room_id.clone();
            let id = id.ok_or_else(|| Error::corrupt("a room without an id"))?;
            let (_, batch, settled_new) = new.finish();
            let old = self.plan_replaced(old, batch, room_id, user, &id).await?;
            let (_, batch, settled_old) = old.finish();
            match self.0.store.commit(batch).await {
                Ok(committed) => {
                    settled_new.cache(self, &committed);
                    settled_old.cache(self, &committed);
                    return Ok(id);
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// What the new room is to be, if the user may have it.
    async fn successor(
        &self,
        old: &Plan,
        room_id: &RoomId,
        user: &UserId,
        version: RoomVersion,
        additional_creators: &[OwnedUserId],
    ) -> Result<NewRoom, Error> {
        let (view, head) = (&old.view, &old.head);
        if !self.is_joined(view, user, room_id).await? {
            return Err(Error::forbidden("you are not in this room"));
        }
        let levels = self.power_levels(view, head, head.state).await?;
        if levels.user(user) < levels.state("m.room.tombstone") {
            return Err(Error::forbidden("you may not replace this room"));
        }
        let mut room = NewRoom::by(user.to_owned());
        room.version = Some(version);
        room.is_public = self.is_published(view, room_id).await?;
        let create = self.create_event(view, head).await?;
        room.creation_content = Some(successor_content(
            &create,
            room_id,
            head.extremities.last().map(|id| id.as_str()),
            version,
            additional_creators,
        )?);
        room.initial_state = self.kept_state(view, head).await?;
        let levels = self
            .kept_levels(view, head, user, version, additional_creators)
            .await?;
        room.initial_state.extend(levels);
        Ok(room)
    }

    /// Plans what happens in the old room on top of `batch`, which makes the new one: the tombstone, aliases that move, and
    /// silence.
    async fn plan_replaced(
        &self,
        mut old: Plan,
        batch: Batch,
        room_id: &RoomId,
        user: &UserId,
        new: &RoomId,
    ) -> Result<Plan, Error> {
        old.batch = batch;
        let tombstone = json!({ "body": "This room has been replaced", "replacement_room": new });
        let event = |event_type: &str, content: &Value| {
            let (room_id, user) = (room_id.to_owned(), user.to_owned());
            Ok::<_, Error>(NewEvent::state(
                room_id,
                user,
                event_type,
                "",
                raw(content)?,
            ))
        };
        old.send(event("m.room.tombstone", &tombstone)?).await?;
        self.move_aliases(&mut old, room_id, new).await?;
        if let Some(content) = self.quieter(&old).await? {
            // Not to be allowed to is no failure: a refused event leaves no trace in the plan.
            match old.send(event("m.room.power_levels", &content)?).await {
                Ok(_) | Err(Error::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(old)
    }

    async fn create_event(&self, view: &View, head: &Head) -> Result<Arc<StoredEvent>, Error> {
        self.state_event(view, head, head.state, "m.room.create", "")
            .await?
            .ok_or_else(|| Error::corrupt("a room without a create event"))
    }

    async fn kept_state(&self, view: &View, head: &Head) -> Result<Vec<InitialState>, Error> {
        let mut kept = Vec::new();
        let mut keep = |event: &StoredEvent| {
            if kept.len() < MAX_KEPT {
                kept.push(InitialState {
                    event_type: event.pdu.event_type().to_owned(),
                    state_key: event.pdu.state_key().unwrap_or_default().to_owned(),
                    content: event.pdu.content().to_owned(),
                });
            }
        };
        for event_type in KEPT {
            let events = self
                .full_state(view, head, head.state, Some(event_type))
                .await?;
            events.iter().for_each(|event| keep(event));
        }
        // Page by page: the members are most of a big room, and few of them are banned.
        let (tree, members) = (&self.0.tree, Which::Of("m.room.member"));
        let mut members = tree.walk(view, head.number, head.state, members);
        while let Some(page) = members.next_page().await? {
            let ids = page.into_iter().map(|(_, _, id)| id);
            for event in self.known_events(view, ids).await? {
                let content = event.pdu.content().get();
                if crate::visibility::membership_of(content) == crate::Membership::Ban {
                    keep(&event);
                }
            }
        }
        Ok(kept)
    }

    /// The power levels of the old room, so written that the new version accepts them.
    async fn kept_levels(
        &self,
        view: &View,
        head: &Head,
        user: &UserId,
        version: RoomVersion,
        additional_creators: &[OwnedUserId],
    ) -> Result<Option<InitialState>, Error> {
        let current = self
            .state_event(view, head, head.state, "m.room.power_levels", "")
            .await?;
        let Some(current) = current else {
            return Ok(None);
        };
        let mut content: Value = serde_json::from_str(current.pdu.content().get())
            .map_err(|e| Error::refused(Refusal::BadState, e.to_string()))?;
        let levels = self.power_levels(view, head, head.state).await?;
        if !content["users"].is_object() {
            content["users"] = json!({});
        }
        if version
            .rules()
            .authorization
            .explicitly_privilege_room_creators
        {
            if let Some(users) = content["users"].as_object_mut() {
                users.remove(user.as_str());
                for creator in additional_creators {
                    users.remove(creator.as_str());
                }
            }
            if levels.state("m.room.tombstone") <= Level::Finite(100) {
                if !content["events"].is_object() {
                    content["events"] = json!({});
                }
                content["events"]["m.room.tombstone"] = 150.into();
            }
        } else {
            // Who rules without a number gets the highest that a new room gives.
            for (ruler, level) in levels.listed_users() {
                if level == Level::Infinite || ruler == user && level < Level::Finite(100) {
                    content["users"][ruler.as_str()] = 100.into();
                }
            }
            if levels.state("m.room.tombstone") > Level::Finite(100) {
                content["events"]["m.room.tombstone"] = 100.into();
            }
        }
        Ok(Some(InitialState {
            event_type: "m.room.power_levels".to_owned(),
            state_key: String::new(),
            content: raw(&content)?,
        }))
    }

    /// Lets the aliases and the directory point to the new room.
    async fn move_aliases(&self, plan: &mut Plan, old: &RoomId, new: &RoomId) -> Result<(), Error> {
        for alias in self.aliases_of(&plan.view, old).await? {
            let Some(target) = plan.view.get(&ALIASES, alias.as_str()).await? else {
                continue;
            };
            let batch = &mut plan.batch;
            batch.assert_equals(&ALIASES, alias.as_str(), &target);
            let moved = AliasTarget {
                room_id: new.as_str().to_owned(),
                creator: target.creator,
            };
            batch.put(&ALIASES, alias.as_str(), moved);
            batch.delete(&ROOM_ALIASES, (old.as_str(), alias.as_str()));
            batch.put(&ROOM_ALIASES, (new.as_str(), alias.as_str()), ());
        }
        plan.batch.delete(&PUBLISHED, old.as_str());
        Ok(())
    }

    /// Power levels by which it takes more to speak in the old room than guests have.
    async fn quieter(&self, old: &Plan) -> Result<Option<Value>, Error> {
        let Some(current) = old.state("m.room.power_levels", "").await? else {
            return Ok(None);
        };
        let Ok(mut content) = serde_json::from_str::<Value>(current.pdu.content().get()) else {
            return Ok(None);
        };
        let levels = old.levels().await?;
        let Level::Finite(default) = levels.users_default() else {
            return Ok(None);
        };
        let wanted = default.saturating_add(1).max(50);
        for (field, level) in [
            ("events_default", levels.message("")),
            ("invite", levels.invite()),
        ] {
            if level < Level::Finite(wanted) {
                content[field] = wanted.into();
            }
        }
        Ok(Some(content))
    }
}

/// The content of the new create event: that of the old one, and where it came from.
fn successor_content(
    old: &StoredEvent,
    room_id: &RoomId,
    last: Option<&str>,
    version: RoomVersion,
    additional_creators: &[OwnedUserId],
) -> Result<Box<RawValue>, Error> {
    let mut content: Value = serde_json::from_str(old.pdu.content().get())
        .map_err(|e| Error::refused(Refusal::BadState, e.to_string()))?;
    if let Some(content) = content.as_object_mut() {
        content.remove("additional_creators");
        content.remove("creator");
    }
    content["predecessor"] = match last.filter(|_| !version.has_hashed_room_ids()) {
        Some(event_id) => json!({ "room_id": room_id, "event_id": event_id }),
        None => json!({ "room_id": room_id }),
    };
    if version.rules().authorization.additional_room_creators && !additional_creators.is_empty() {
        content["additional_creators"] = json!(additional_creators);
    }
    raw(&content)
}

fn raw(content: &Value) -> Result<Box<RawValue>, Error> {
    to_raw_value(content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))
}
