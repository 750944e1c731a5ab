//! Owns what push rules make of events: evaluated once for each event and distinct set of rules, whoever asks, and how far
//! that has been added up for a user in a room. Bounded memories, which may forget. Must never fan anything out to members.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::sync::Arc;

use hearth_protocol::client_json;
use hearth_rooms::{Counts, Head, ReadMarks, Rooms, StoredEvent, Unread, thread_root};
use hearth_store::{Direction, Position, View};
use hearth_users::{predefined_push_rules, read_push_rules};
use quick_cache::sync::Cache;
use ruma::{
    Int, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::AnySyncTimelineEvent,
    power_levels::NotificationPowerLevels,
    push::{FlattenedJson, PushConditionPowerLevelsCtx, PushConditionRoomCtx},
    room_version_rules::{AuthorizationRules, RoomPowerLevelsRules},
    serde::Raw,
};

use crate::{
    Error,
    rules::{NO_RULE, Rules, Verdict},
    service::Shared,
};

/// Users whose rules are kept ready.
const USERS: usize = 10_000;
/// Verdicts that are kept.
const VERDICTS: usize = 50_000;
/// Users in rooms for whom is kept what was added up.
const TALLIES: usize = 20_000;
/// How many of the newest unread events are asked about; counts stop there.
const MAX_COUNTED: usize = 1_000;

/// What was found out.
pub(crate) struct Verdicts {
    rules: Cache<OwnedUserId, Arc<Rules>>,
    shared: Cache<(u128, OwnedEventId), Verdict>,
    tallies: Cache<(OwnedUserId, OwnedRoomId), Arc<Tally>>,
}

/// How much of a room a user has not read, up to a position.
struct Tally {
    version: Position,
    marks: ReadMarks,
    upto: Position,
    unread: Unread,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            rules: Cache::new(USERS),
            shared: Cache::new(VERDICTS),
            tallies: Cache::new(TALLIES),
        }
    }
}

/// The rules of a user who has other than the predefined ones.
pub(crate) async fn own_rules(
    shared: &Shared,
    view: &View,
    user: &UserId,
) -> Result<Option<Arc<Rules>>, Error> {
    let Some((version, content)) = shared.users.own_push_rules(view, user).await? else {
        return Ok(None);
    };
    let memory = &shared.verdicts.rules;
    if let Some(known) = memory.get(user)
        && known.version == version
    {
        return Ok(Some(known));
    }
    let name = shared.users.profile(view, user).await?.displayname;
    let set = read_push_rules(user, &content);
    let rules = Rules::new(user, &name.unwrap_or_default(), set, version);
    let rules = Arc::new(rules);
    memory.insert(user.to_owned(), rules.clone());
    Ok(Some(rules))
}

/// The rules of a user, own or predefined.
pub(crate) async fn rules_of(
    shared: &Shared,
    view: &View,
    user: &UserId,
) -> Result<Arc<Rules>, Error> {
    if let Some(own) = own_rules(shared, view, user).await? {
        return Ok(own);
    }
    let set = predefined_push_rules(user);
    Ok(Arc::new(Rules::new(user, "", set, Position::ZERO)))
}

/// What the rules of `user` make of an event of another in the room of `head`.
pub(crate) async fn verdict(
    shared: &Shared,
    view: &View,
    (user, rules): (&UserId, &Rules),
    head: &Head,
    event: &StoredEvent,
) -> Result<Verdict, Error> {
    let key = (rules.fingerprint, event.event_id().to_owned());
    let known = shared.verdicts.shared.get(&key);
    let may_name = rules.may_name(event.pdu.content().get());
    if let Some(known) = known
        && !may_name
    {
        return Ok(known);
    }
    let context = context(&shared.rooms, view, user, head, event).await?;
    let json: Raw<AnySyncTimelineEvent> = Raw::from_json(client_json(&event.pdu, true, None));
    let flat = FlattenedJson::from_raw(&json);
    let common = match known {
        Some(known) => known,
        None => {
            let common = rules.judge(&flat, &context).await;
            shared.verdicts.shared.insert(key, common);
            common
        }
    };
    match may_name {
        true => Ok(rules.judge_personally(common, &flat, &context).await),
        false => Ok(common),
    }
}

/// What conditions may ask of the room. Power levels only matter to whether the sender may notify all.
async fn context(
    rooms: &Rooms,
    view: &View,
    user: &UserId,
    head: &Head,
    event: &StoredEvent,
) -> Result<PushConditionRoomCtx, Error> {
    let members = UInt::new_saturating(head.joined);
    let room = event.pdu.room_id().to_owned();
    let context = PushConditionRoomCtx::new(room, members, user.to_owned(), String::new());
    // A room whose power levels are none is no reason to count nothing.
    let Ok(levels) = rooms.power_levels(view, head, event.state_after).await else {
        return Ok(context);
    };
    let may_notify = levels.user(event.pdu.sender()) >= levels.notify_room();
    let mut needed = NotificationPowerLevels::new();
    needed.room = Int::from(1_i32);
    let rules = RoomPowerLevelsRules::new(&AuthorizationRules::V1, []);
    let level = Int::from(i32::from(may_notify));
    let levels = PushConditionPowerLevelsCtx::new([].into(), level, needed, rules);
    Ok(context.with_power_levels(levels))
}

/// How much of a room is unread by rules of the user's own: what is new is asked about, what was asked before is added.
pub(crate) async fn tally(
    shared: &Shared,
    view: &View,
    (user, rules): (&UserId, &Rules),
    (room, head): (&RoomId, &Head),
    joined_at: Position,
) -> Result<Unread, Error> {
    let marks = shared
        .rooms
        .marks(view, user, (room, head), joined_at)
        .await?;
    let key = (user.to_owned(), room.to_owned());
    let known = shared.verdicts.tallies.get(&key).filter(|known| {
        known.version == rules.version && known.marks == marks && known.upto <= head.position
    });
    let (mut unread, after) = match &known {
        Some(known) => (known.unread.clone(), known.upto),
        None => (Unread::default(), marks.all()),
    };
    let events = shared
        .rooms
        .timeline(
            view,
            room,
            after,
            head.position,
            Direction::Backward,
            MAX_COUNTED,
        )
        .await?;
    for event in events.iter().filter(|event| event.pdu.sender() != user) {
        let thread = thread_root(&event.pdu);
        if marks.covers(event.position, thread.as_deref()) {
            continue;
        }
        let verdict = verdict(shared, view, (user, rules), head, event).await?;
        if verdict.rule != NO_RULE {
            let counts = Counts {
                notifications: verdict.notifies.into(),
                highlights: verdict.highlights.into(),
            };
            unread.add(thread.as_deref(), counts);
        }
    }
    let tally = Tally {
        version: rules.version,
        marks,
        upto: head.position,
        unread: unread.clone(),
    };
    shared.verdicts.tallies.insert(key, Arc::new(tally));
    Ok(unread)
}
