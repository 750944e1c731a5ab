//! Owns who of those around a user is there. Ephemeral: what was announced since the stamp in the token, and how those are
//! who came into sight. Must never tell of anybody through a large room: there, everybody's coming and going would be
//! everybody's news.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#presence>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Weak,
    time::Duration,
};

use hearth_rooms::{Message, Rooms};
use hearth_store::View;
use hearth_users::{Availability, Presence, PresenceStamp, Users};
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde::Serialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::watch;

use crate::{Error, filter, service::Shared, window::Reading};

/// Presence is told in rooms of up to this many members.
const MAX_MEMBERS: u64 = 500;
/// How many users one answer tells of.
const MAX_TOLD: usize = 500;
/// In how many rooms is looked for those who are there, when all are to be told; the smallest first.
const MAX_ROOMS: usize = 100;
/// For up to this many users who came into sight it is looked up in which rooms they are.
const FEW: usize = 32;
/// How many users in rooms are remembered to have been announced there.
const MAX_ANNOUNCED: usize = 50_000;
/// How many servers of a room are told.
const MAX_SERVERS: usize = 500;
/// If more users change at once, nobody is told of it for its own sake: each hears with what else there is for them.
const MANY: usize = 1_000;
/// How often is looked for those whose time ran out.
const TICK: Duration = Duration::from_secs(1);

/// What an answer tells of presence.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Box<RawValue>>,
    /// Everything announced at or below it was told.
    pub(crate) stamp: PresenceStamp,
}

/// What was announced since the last answer, and how those are whom the device did not know yet (`came`).
pub(crate) async fn read<'r>(
    reading: &Reading<'_>,
    joined: impl Iterator<Item = &'r RoomId> + Clone,
    came: &BTreeSet<OwnedUserId>,
) -> Result<Told, Error> {
    let users = reading.users();
    let announced = &reading.shared.announced;
    let mut told = Told {
        events: Vec::new(),
        stamp: announced.upto(),
    };
    let since = reading.request.since.map(|since| since.present);
    let is_quiet = since == Some(told.stamp) && came.is_empty();
    if is_quiet || !filter::passes(&reading.request.filter.presence, "m.presence", None) {
        return Ok(told);
    }
    let mut seen = match since {
        Some(since) => announced.in_rooms(joined.clone(), since),
        None => Some(HashSet::new()),
    };
    if since.is_some() && came.is_empty() && seen.as_ref().is_some_and(HashSet::is_empty) {
        return Ok(told);
    }
    let around = Around::of(reading.rooms(), reading.view, joined).await?;
    if since.is_none() || seen.is_none() {
        // A first sync, or one from so long ago that it is not remembered who was announced where.
        let members = around.members(reading.rooms(), reading.view).await?;
        let is_news = |user: &OwnedUserId| since.is_some() || is_there(users, user);
        seen = Some(members.into_iter().filter(is_news).take(MAX_TOLD).collect());
    }
    let mut seen = seen.unwrap_or_default();
    for user in came.iter().filter(|user| is_there(users, user)).take(FEW) {
        if around.holds(reading.rooms(), reading.view, user).await? {
            seen.insert(user.clone());
        }
    }
    let wanted = seen.iter().filter(|user| is_wanted(reading, user));
    let now = reading.look.now;
    told.events = wanted
        .map(|user| event(user, &users.presence(user), now))
        .collect();
    Ok(told)
}

fn is_there(users: &Users, user: &UserId) -> bool {
    users.presence(user).availability > Availability::Offline
}

/// Nobody is told of themselves: their own devices know.
fn is_wanted(reading: &Reading<'_>, user: &OwnedUserId) -> bool {
    user != reading.user()
        && !reading.ignored.contains(user)
        && filter::passes(&reading.request.filter.presence, "m.presence", Some(user))
}

/// The rooms of a user in which presence is told, the smallest first.
pub(crate) struct Around(Vec<OwnedRoomId>);

impl Around {
    /// Of these rooms those that are small enough.
    pub(crate) async fn of<'r>(
        rooms: &Rooms,
        view: &View,
        joined: impl Iterator<Item = &'r RoomId> + Clone,
    ) -> Result<Self, Error> {
        let heads = rooms.heads(view, joined.clone()).await?;
        let sizes = heads.into_iter().map(|head| head.map(|head| head.joined));
        let mut small: Vec<(u64, OwnedRoomId)> = joined
            .zip(sizes)
            .filter_map(|(room, size)| Some((size?, room.to_owned())))
            .filter(|(size, _)| *size <= MAX_MEMBERS)
            .collect();
        small.sort_unstable();
        Ok(Self(small.into_iter().map(|(_, room)| room).collect()))
    }

    /// The users of this server in the first of them.
    async fn members(&self, rooms: &Rooms, view: &View) -> Result<HashSet<OwnedUserId>, Error> {
        let mut members = HashSet::new();
        for room in self.0.iter().take(MAX_ROOMS) {
            members.extend(rooms.local_members(view, room).await?);
        }
        Ok(members)
    }

    /// Whether the user is in one of them.
    async fn holds(&self, rooms: &Rooms, view: &View, user: &UserId) -> Result<bool, Error> {
        let theirs: HashSet<_> = rooms.rooms_with(view, user).await?.into_iter().collect();
        Ok(self.0.iter().any(|room| theirs.contains(room)))
    }
}

fn event(user: &UserId, presence: &Presence, now: hearth_base::Millis) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Content<'a> {
        presence: &'static str,
        currently_active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_active_ago: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status_msg: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        sender: &'a UserId,
        content: Content<'a>,
    }
    let ago = presence.last_active_ago(now);
    let event = Event {
        kind: "m.presence",
        sender: user,
        content: Content {
            presence: presence.availability.as_str(),
            currently_active: presence.is_active(now),
            last_active_ago: ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            status_msg: presence.message.as_deref(),
        },
    };
    // Strings and numbers always serialise.
    to_raw_value(&event).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Announces changes of presence until `closing` says so or the last [`crate::Sync`] is gone.
pub(crate) async fn announce(shared: Weak<Shared>, mut closing: watch::Receiver<bool>) {
    let Some(bell) = shared.upgrade().and_then(|s| s.users.presence_bell()) else {
        return;
    };
    loop {
        tokio::select! {
            () = bell.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let Some(pause) = shared.upgrade().map(|s| s.users.presence_pause()) else {
            return;
        };
        // A longer pause is waited for tick by tick, so that nothing holds up the end.
        tokio::time::sleep(pause.min(TICK)).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if shared.users.presence_pause().is_zero()
            && let Err(error) = announce_once(&shared).await
        {
            tracing::warn!(%error, "changes of presence are not told");
        }
    }
}

/// Announces what changed, and wakes those around.
pub(crate) async fn announce_once(shared: &Shared) -> Result<(), Error> {
    let mut changed = shared.users.announce_presence().await?;
    if changed.is_empty() {
        return Ok(());
    }
    let is_many = changed.len() > MANY;
    if is_many {
        let tells = shared.rooms.remote().is_ok();
        changed.retain(|user| tells && shared.users.tells_presence(user));
    }
    let stamp = shared.users.presence_stamp();
    let mut places = Vec::new();
    for user in changed {
        match rooms_around(shared, &user).await {
            Ok(rooms) => places.extend(rooms.into_iter().map(|room| (room, user.clone()))),
            Err(error) => {
                // Whoever asks looks for themselves.
                shared.announced.forget(stamp);
                return Err(error);
            }
        }
    }
    if let Err(error) = tell_servers(shared, &places).await {
        tracing::warn!(%error, "other servers are not told who is there");
    }
    if is_many {
        // Whoever has news looks for themselves.
        shared.announced.forget(stamp);
        return Ok(());
    }
    // Nobody has to hear of themselves.
    let mut rooms: HashMap<OwnedRoomId, Option<OwnedUserId>> = HashMap::new();
    for (room, user) in &places {
        let only = rooms.entry(room.clone());
        only.and_modify(|only| *only = None)
            .or_insert_with(|| Some(user.clone()));
    }
    shared.announced.note(stamp, places);
    shared.notifier().wake_rooms(rooms).await;
    Ok(())
}

/// Tells the other servers in the rooms of those for whom this node speaks.
async fn tell_servers(shared: &Shared, places: &[(OwnedRoomId, OwnedUserId)]) -> Result<(), Error> {
    let Ok(remote) = shared.rooms.remote() else {
        return Ok(());
    };
    let view = shared.store.view().await?;
    let now = shared.clock.now();
    let mut news: BTreeMap<OwnedServerName, BTreeSet<&OwnedUserId>> = BTreeMap::new();
    for (room, user) in places {
        if !shared.users.tells_presence(user) {
            continue;
        }
        for server in shared.rooms.servers(&view, room, MAX_SERVERS).await? {
            if server != shared.rooms.server_name() {
                news.entry(server).or_default().insert(user);
            }
        }
    }
    for (server, users) in news {
        let push: Vec<_> = users
            .into_iter()
            .take(MAX_TOLD)
            .map(|user| {
                let presence = shared.users.presence(user);
                let ago = presence.last_active_ago(now).unwrap_or_default();
                let mut update = json!({
                    "user_id": user,
                    "presence": presence.availability.as_str(),
                    "currently_active": presence.is_active(now),
                    "last_active_ago": u64::try_from(ago.as_millis()).unwrap_or_default(),
                });
                if let Some(message) = presence.message {
                    update["status_msg"] = message.into();
                }
                update
            })
            .collect();
        let message = Message {
            kind: "m.presence",
            content: json!({ "push": push }),
        };
        remote.tell(vec![server], message);
    }
    Ok(())
}

/// The rooms in which is told of the user.
async fn rooms_around(shared: &Shared, user: &UserId) -> Result<Vec<OwnedRoomId>, Error> {
    let view = shared.store.view().await?;
    let joined = shared.rooms.rooms_with(&view, user).await?;
    let ids = joined.iter().map(|room| &**room);
    Ok(Around::of(&shared.rooms, &view, ids).await?.0)
}

/// Who was announced in which rooms: a reader looks at their own rooms, however many others come and go. Bounded.
#[derive(Default)]
pub(crate) struct Announced(Mutex<Index>);

#[derive(Default)]
struct Index {
    rooms: HashMap<OwnedRoomId, Vec<(PresenceStamp, OwnedUserId)>>,
    entries: usize,
    /// What was announced at or below it may be missing.
    floor: PresenceStamp,
    /// What was announced at or below it and above the floor is there.
    upto: PresenceStamp,
}

impl Announced {
    /// Everything announced at or below this can be read.
    fn upto(&self) -> PresenceStamp {
        self.0.lock().upto
    }

    /// Notes what was announced up to `stamp`: users by room.
    fn note(&self, stamp: PresenceStamp, places: Vec<(OwnedRoomId, OwnedUserId)>) {
        if places.len() > MAX_ANNOUNCED {
            return self.forget(stamp);
        }
        let mut index = self.0.lock();
        if index.entries + places.len() > MAX_ANNOUNCED {
            *index = Index {
                floor: index.upto,
                ..Index::default()
            };
        }
        for (room, user) in places {
            let here = index.rooms.entry(room).or_default();
            let before = here.len();
            here.retain(|(_, other)| *other != user);
            let is_new = here.len() == before;
            here.push((stamp, user));
            index.entries += usize::from(is_new);
        }
        index.upto = stamp;
    }

    /// What was announced up to `stamp` is not known.
    fn forget(&self, stamp: PresenceStamp) {
        *self.0.lock() = Index {
            floor: stamp,
            upto: stamp,
            ..Index::default()
        };
    }

    /// Who was announced after `since` in one of these rooms; nothing if that is not known any more.
    fn in_rooms<'r>(
        &self,
        rooms: impl Iterator<Item = &'r RoomId>,
        since: PresenceStamp,
    ) -> Option<HashSet<OwnedUserId>> {
        let index = self.0.lock();
        if since < index.floor {
            return None;
        }
        let lists = rooms.filter_map(|room| index.rooms.get(room));
        let later = lists.flat_map(|list| list.iter().rev().take_while(|(at, _)| *at > since));
        Some(later.map(|(_, user)| user.clone()).take(MAX_TOLD).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::device_id;

    use super::*;
    use crate::tests::{House, events, user};

    #[tokio::test]
    async fn of_very_many_who_come_at_once_each_hears_with_other_news() {
        let house = House::open();
        let alice = house.account("alice").await;
        house.account("bob").await;
        let room = house.company(&["alice", "bob"]).await;
        let (since, _) = house.first(&alice).await;
        let shared = house.sync.shared();
        let comes = async |name: String| {
            let (user, phone) = (user(&name), device_id!("PHONE"));
            let stays = Duration::from_secs(30);
            let users = &shared.users;
            users
                .note_sync(&user, phone, Availability::Online, stays)
                .await
                .unwrap();
        };
        comes("bob".to_owned()).await;
        for n in 0..MANY {
            comes(format!("u{n}")).await;
        }
        announce_once(shared).await.unwrap();
        let (since, answer) = house.next(&alice, since).await;
        assert!(answer.get("presence").is_none(), "{answer}");
        house.say(&room, "bob", "hello").await;
        let (_, answer) = house.next(&alice, since).await;
        let told = events(&answer, "/presence/events");
        assert_eq!(told.len(), 1, "{answer}");
        assert_eq!(told[0]["sender"], user("bob").as_str());
    }
}
