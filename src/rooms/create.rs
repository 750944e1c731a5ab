//! Owns making rooms: the events of a new room are planned as one group and committed as one batch, so that a room is
//! there whole or not at all. Must never publish a room or an alias before it is.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3createroom>

use hearth_protocol::RoomVersion;
use hearth_store::CommitError;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::{Map, Value, json, value::RawValue, value::to_raw_value};

use crate::{
    Act, Error, MemberChange, NewRoom, Preset, Refusal, Rooms,
    alias::{ALIASES, PUBLISHED},
    plan::{Plan, Proposal},
    queue::{MAX_TRIES, commit},
};

/// How many events a room may start with.
const MAX_INITIAL: usize = 500;

/// How many milliseconds the events of a room are dated ahead at most, where their own time is taken.
const MAX_SHIFT: u64 = 1000;

impl Rooms {
    /// Makes a room.
    ///
    /// # Errors
    /// `Refused` with `RoomInUse`, `InvalidParam`, `InvalidRoomState` (also when the creator's own settings forbid what
    /// comes after), `BadJson`, `TooLarge`; `Malformed`.
    pub async fn create(&self, room: NewRoom) -> Result<OwnedRoomId, Error> {
        let alias = room
            .alias
            .as_deref()
            .map(|local| self.own_alias(local))
            .transpose()?;
        for attempt in 0..MAX_TRIES {
            let shift = self.shift(attempt);
            let plan = self.plan_room(&room, alias.as_ref(), shift).await?;
            let room_id = plan.room_id.clone();
            match (commit(plan).await, room_id) {
                (Ok(()), Some(room_id)) => {
                    self.invite_others(&room, &room_id).await;
                    return Ok(room_id);
                }
                (Ok(()), None) => return Err(Error::corrupt("a room without an id")),
                // Most likely somebody else took the alias: planned anew, that is refused.
                (Err(CommitError::Conflict), _) => {}
                (Err(CommitError::Failed(error)), _) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// How many milliseconds ahead a new room is dated: two create events of one user in one millisecond are one event, and
    /// one room where its hash names the room.
    pub(crate) fn shift(&self, attempt: usize) -> u64 {
        match attempt {
            0 => 0,
            _ => self.0.rng.number() % MAX_SHIFT,
        }
    }

    /// The alias of this server with that local part.
    fn own_alias(&self, local: &str) -> Result<OwnedRoomAliasId, Error> {
        let wrong = |e: &dyn std::fmt::Display| {
            Error::refused(Refusal::InvalidParam, format!("not an alias: {e}"))
        };
        if local.is_empty() || local.contains([':', '\0']) || local.chars().any(char::is_whitespace)
        {
            return Err(wrong(&"the local part is empty or has a colon or spaces"));
        }
        let alias = RoomAliasId::parse(format!("#{local}:{}", self.server_name()))
            .map_err(|e| wrong(&e))?;
        self.check_own_alias(&alias)?;
        Ok(alias)
    }

    /// A plan of the whole room, whose events are dated `shift` milliseconds ahead.
    pub(crate) async fn plan_room(
        &self,
        room: &NewRoom,
        alias: Option<&OwnedRoomAliasId>,
        shift: u64,
    ) -> Result<Plan, Error> {
        if room.initial_state.len() + room.invite.len() > MAX_INITIAL {
            return Err(Error::refused(
                Refusal::TooLarge,
                "too many invites and initial state events",
            ));
        }
        let version = room.version.unwrap_or_default();
        let room_id = match version.has_hashed_room_ids() {
            true => None,
            false => Some(self.new_room_id()?),
        };
        let mut plan = Plan::create(self, version, room_id).await?;
        plan.shift = shift;
        if let Some(alias) = alias
            && plan.view.get(&ALIASES, alias.as_str()).await?.is_some()
        {
            return Err(Error::refused(Refusal::RoomInUse, "the alias is taken"));
        }
        for (event_type, state_key, content) in settings(room, version, alias)? {
            plan.set(room, event_type, state_key, content).await?;
        }
        let here = room
            .invite
            .iter()
            .filter(|(user, _)| !self.is_invited_later(user));
        for (user, profile) in here {
            let mut content = member("invite", profile);
            if room.is_direct {
                content["is_direct"] = true.into();
            }
            plan.set(
                room,
                "m.room.member".to_owned(),
                user.to_string(),
                raw(&content)?,
            )
            .await?;
        }
        let id = plan.room_id().to_owned();
        if let Some(alias) = alias {
            self.plan_alias(&mut plan.batch, alias, &id, &room.creator);
        }
        if room.is_public {
            plan.batch.put(&PUBLISHED, id.as_str(), ());
        }
        Ok(plan)
    }

    /// Users of other servers are invited once there is a room that their servers can be told of.
    fn is_invited_later(&self, user: &UserId) -> bool {
        !self.is_local(user) && self.remote().is_ok()
    }

    /// Invites those of other servers. One whose server refuses is not invited; the room is there all the same.
    async fn invite_others(&self, room: &NewRoom, room_id: &RoomId) {
        for (user, profile) in &room.invite {
            if !self.is_invited_later(user) {
                continue;
            }
            let (sender, target) = (room.creator.clone(), user.clone());
            let change = MemberChange {
                profile: profile.clone(),
                is_direct: room.is_direct,
                ..MemberChange::of(room_id.to_owned(), sender, target, Act::Invite)
            };
            if let Err(error) = self.change_membership(change).await {
                tracing::warn!(%room_id, %user, %error, "a user of another server is not invited");
            }
        }
    }

    fn new_room_id(&self) -> Result<OwnedRoomId, Error> {
        RoomId::parse(format!("!{}:{}", self.0.rng.opaque(18), self.server_name()))
            .map_err(|e| Error::corrupt(format!("the server's name makes no room id: {e}")))
    }
}

impl Plan {
    /// Plans a state event of a new room.
    async fn set(
        &mut self,
        room: &NewRoom,
        event_type: String,
        state_key: String,
        content: Box<RawValue>,
    ) -> Result<(), Error> {
        let what = event_type.clone();
        let added = self
            .add(Proposal {
                sender: room.creator.clone(),
                event_type,
                state_key: Some(state_key),
                content,
                redacts: None,
                transaction: None,
                timestamp: None,
            })
            .await;
        match added {
            Ok(_) => Ok(()),
            Err(Error::Forbidden(reason)) => Err(Error::refused(
                Refusal::InvalidRoomState,
                format!("{what}: {reason}"),
            )),
            Err(error) => Err(error),
        }
    }
}

type Setting = (String, String, Box<RawValue>);

/// All state events of a new room but the invites, in their order.
fn settings(
    room: &NewRoom,
    version: RoomVersion,
    alias: Option<&OwnedRoomAliasId>,
) -> Result<Vec<Setting>, Error> {
    let preset = room.preset.unwrap_or(match room.is_public {
        true => Preset::PublicChat,
        false => Preset::PrivateChat,
    });
    let mut events = Vec::new();
    let mut put = |event_type: &str, state_key: &str, content: &Value| {
        raw(content)
            .map(|content| events.push((event_type.to_owned(), state_key.to_owned(), content)))
    };
    put("m.room.create", "", &create_content(room, version, preset)?)?;
    let creator = room.creator.as_str();
    put("m.room.member", creator, &member("join", &room.profile))?;
    put(
        "m.room.power_levels",
        "",
        &power_levels(room, version, preset)?,
    )?;
    let given = |event_type: &str| {
        let mut initial = room.initial_state.iter();
        initial.any(|event| event.event_type == event_type && event.state_key.is_empty())
    };
    if let Some(alias) = alias
        && !given("m.room.canonical_alias")
    {
        put("m.room.canonical_alias", "", &json!({ "alias": alias }))?;
    }
    for (event_type, content) in preset_content(preset) {
        // Without one, guests are forbidden.
        let says_nothing = content["guest_access"] == "forbidden";
        if !given(event_type) && !says_nothing {
            put(event_type, "", &content)?;
        }
    }
    for event in &room.initial_state {
        hearth_protocol::check_content(&event.content)?;
        events.push((
            event.event_type.clone(),
            event.state_key.clone(),
            event.content.clone(),
        ));
    }
    for (event_type, content) in [
        (
            "m.room.name",
            room.name.as_ref().map(|name| json!({ "name": name })),
        ),
        (
            "m.room.topic",
            room.topic.as_ref().map(|topic| topic_content(topic)),
        ),
    ] {
        if let Some(content) = content {
            events.push((event_type.to_owned(), String::new(), raw(&content)?));
        }
    }
    Ok(events)
}

/// Who may come, read and look in, by the preset.
fn preset_content(preset: Preset) -> [(&'static str, Value); 3] {
    let (join_rule, guests) = match preset {
        Preset::PublicChat => ("public", "forbidden"),
        Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", "can_join"),
    };
    let visibility = json!({ "history_visibility": "shared" });
    [
        ("m.room.join_rules", json!({ "join_rule": join_rule })),
        ("m.room.history_visibility", visibility),
        ("m.room.guest_access", json!({ "guest_access": guests })),
    ]
}

fn topic_content(topic: &str) -> Value {
    json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } })
}

fn create_content(room: &NewRoom, version: RoomVersion, preset: Preset) -> Result<Value, Error> {
    let mut content = object(room.creation_content.as_deref())?;
    content.insert("room_version".to_owned(), version.as_str().into());
    let rules = &version.rules().authorization;
    if rules.use_room_create_sender {
        content.remove("creator");
    } else {
        content.insert("creator".to_owned(), room.creator.as_str().into());
    }
    if rules.additional_room_creators && preset == Preset::TrustedPrivateChat {
        let listed = content
            .entry("additional_creators")
            .or_insert_with(|| json!([]));
        let Value::Array(listed) = listed else {
            return Err(Error::refused(
                Refusal::InvalidParam,
                "`additional_creators` is not a list",
            ));
        };
        for (user, _) in &room.invite {
            let user = Value::from(user.as_str());
            if !listed.contains(&user) {
                listed.push(user);
            }
        }
    }
    Ok(Value::Object(content))
}

fn power_levels(room: &NewRoom, version: RoomVersion, preset: Preset) -> Result<Value, Error> {
    let sovereign = version
        .rules()
        .authorization
        .explicitly_privilege_room_creators;
    let mut users = Map::new();
    if !sovereign {
        users.insert(room.creator.to_string(), 100.into());
        if preset == Preset::TrustedPrivateChat {
            let invited = room.invite.iter();
            users
                .extend(invited.map(|(user, _): &(OwnedUserId, _)| (user.to_string(), 100.into())));
        }
    }
    let mut content = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            // Only creators replace a room where they are above all others.
            "m.room.tombstone": if sovereign { 150 } else { 100 },
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": if preset == Preset::PublicChat { 50 } else { 0 },
        "historical": 100,
    });
    if let Value::Object(content) = &mut content {
        content.extend(object(room.power_levels.as_deref())?);
    }
    Ok(content)
}

fn member(membership: &str, profile: &crate::Profile) -> Value {
    let mut content = json!({ "membership": membership });
    if let Some(name) = &profile.displayname {
        content["displayname"] = name.as_str().into();
    }
    if let Some(avatar) = &profile.avatar_url {
        content["avatar_url"] = avatar.as_str().into();
    }
    content
}

fn object(json: Option<&RawValue>) -> Result<Map<String, Value>, Error> {
    let Some(json) = json else {
        return Ok(Map::new());
    };
    hearth_protocol::check_content(json)?;
    serde_json::from_str(json.get()).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))
}

fn raw(content: &Value) -> Result<Box<RawValue>, Error> {
    to_raw_value(content).map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))
}
