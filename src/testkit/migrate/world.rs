//! Accounts, and the rooms in which they talk. What happens follows from the number of events alone, but for ids and times.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hearth_server::{Node, Outside};
use hearth_users::{NewAccount, NewDevice};
use ruma::UserId;
use serde_json::{Value, json};

use crate::{
    Failure,
    caller::{Caller, text},
    place::{Kind, Site},
    settings,
    talk::{self, Talk},
};

/// How many requests are under way at once.
pub(crate) const AT_ONCE: usize = 64;

/// How many people are asked for in the end, the first ones.
pub(crate) const ASKED: usize = 6;

/// What rooms say of who sees what was before.
const VISIBILITIES: [&str; 4] = ["shared", "invited", "joined", "world_readable"];

/// Versions of rooms, most of them new.
const VERSIONS: [&str; 8] = ["12", "12", "11", "12", "10", "6", "12", "1"];

/// A user with two devices.
pub(crate) struct Person {
    pub(crate) id: String,
    /// Access token and name of each device.
    pub(crate) devices: Vec<(String, String)>,
}

impl Person {
    /// The access token of the first device.
    pub(crate) fn token(&self) -> &str {
        &self.devices[0].0
    }
}

/// A room, and what of it is asked for.
pub(crate) struct Room {
    pub(crate) id: String,
    /// Who was in it at first, by number; the first one made it.
    pub(crate) members: Vec<usize>,
    pub(crate) alias: Option<String>,
    pub(crate) is_space: bool,
    /// Events to which something happened.
    pub(crate) notable: Vec<String>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) people: Vec<Person>,
    pub(crate) rooms: Vec<Room>,
    /// Of each of those who are asked for, for each device: where they were when half was said.
    pub(crate) halfway: Vec<Vec<String>>,
    /// Ids of filters.
    pub(crate) filters: Vec<String>,
    /// How many events were asked for, without those that a room begins with.
    pub(crate) sent: usize,
    /// Header of a signed request of another server, by path.
    pub(crate) by_servers: Vec<(String, String)>,
}

/// A number below `end` that follows from `number` without a pattern.
pub(crate) fn spread(number: usize, end: usize) -> usize {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 20) % end.max(1)
}

/// Makes accounts without passwords, whose hashing would take longer than everything else, before a server runs.
pub(crate) async fn register(site: &Site, events: usize) -> Result<Vec<Person>, Failure> {
    let node = Node::open(&site.config(Kind::First)?, Outside::default()).await?;
    let (users, name) = (node.users(), site.name());
    let count = (events / 1000).clamp(30, 400);
    let people = stream::iter(0..count).map(|number| {
        let name = &name;
        async move {
            let id = UserId::parse(format!("@person{number}:{name}"))?;
            let mut account = NewAccount::new(id.clone(), None);
            account.admin = number == 0;
            account.displayname = Some(format!("Person {number}"));
            users.register(account, None).await?;
            let mut devices = Vec::new();
            for what in ["phone", "desk"] {
                let device = NewDevice {
                    display_name: Some(format!("{what} of {number}")),
                    ..NewDevice::default()
                };
                let login = users.login_as(&id, &device).await?;
                devices.push((login.access_token, login.device_id.to_string()));
            }
            let id = id.to_string();
            Ok::<_, Failure>(Person { id, devices })
        }
    });
    let people = people.buffered(AT_ONCE).try_collect().await?;
    node.close().await?;
    Ok(people)
}

impl World {
    /// Fills the server's store until `events` were sent.
    pub(crate) async fn fill(
        caller: &Caller,
        people: Vec<Person>,
        events: usize,
    ) -> Result<Self, Failure> {
        let count = (events / 1000).clamp(40, 1000);
        let rooms = stream::iter(0..count).map(|number| make(caller, &people, number));
        let mut rooms: Vec<Room> = rooms.buffered(AT_ONCE).try_collect().await?;
        link(caller, &people, &rooms).await?;
        let mut sent: usize = rooms.iter().map(|room| room.members.len()).sum();
        let mut talks: Vec<Talk> = (0..count).map(Talk::in_room).collect();
        // Twice, and five times as much in the first room.
        let each = events.saturating_sub(sent) / (2 * (count + 4)) + 1;
        sent += talk::all(caller, &people, &mut rooms, &mut talks, each).await?;
        let halfway = halfway(caller, &people).await?;
        let filters = settings::all(caller, &people, &rooms).await?;
        sent += come_and_go(caller, &people, &rooms).await?;
        sent += talk::all(caller, &people, &mut rooms, &mut talks, each).await?;
        sent += upgrade(caller, &people, &rooms).await?;
        Ok(Self {
            people,
            rooms,
            halfway,
            filters,
            sent,
            by_servers: Vec::new(),
        })
    }
}

/// The first room has everybody in it, others a few.
async fn make(caller: &Caller, people: &[Person], number: usize) -> Result<Room, Failure> {
    let size = match number {
        0 => people.len(),
        // Large ones, in which those who are asked for are, and small ones.
        _ if number.is_multiple_of(10) => people.len() / 2,
        _ => 2 + spread(number, 12),
    };
    let first = match number % 10 {
        0 => number / 10,
        _ => spread(number, people.len()),
    };
    let members: Vec<usize> = (0..size).map(|n| (first + n) % people.len()).collect();
    let is_space = number % 20 == 7;
    let is_public = number.is_multiple_of(3);
    let alias = is_public.then(|| format!("room{number}"));
    let visibility = VISIBILITIES[number % VISIBILITIES.len()];
    let mut state = vec![json!({
        "type": "m.room.history_visibility",
        "content": { "history_visibility": visibility },
    })];
    if number % 5 == 2 {
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        state.push(json!({ "type": "m.room.encryption", "content": content }));
    }
    let mut options = json!({
        "preset": "public_chat",
        "visibility": if is_public { "public" } else { "private" },
        "name": format!("Room {number}"),
        "topic": format!("what {number} is about"),
        "room_version": VERSIONS[number % VERSIONS.len()],
        "initial_state": state,
        // Everybody does everything, so that nobody is refused.
        "power_level_content_override": {
            "state_default": 0, "redact": 0, "invite": 0, "events": { "m.room.topic": 0 },
        },
    });
    if let Some(alias) = &alias {
        options["room_alias_name"] = json!(alias);
    }
    if is_space {
        options["creation_content"] = json!({ "type": "m.space" });
    }
    let maker = people[members[0]].token();
    let made = caller
        .post("/_matrix/client/v3/createRoom", maker, &options)
        .await?;
    let id = text(&made, "room_id")?;
    for member in &members[1..] {
        let path = format!("/_matrix/client/v3/rooms/{id}/join");
        caller
            .post(&path, people[*member].token(), &json!({}))
            .await?;
    }
    Ok(Room {
        id,
        members,
        alias,
        is_space,
        notable: Vec::new(),
    })
}

/// Puts the rooms around each space into it.
async fn link(caller: &Caller, people: &[Person], rooms: &[Room]) -> Result<(), Failure> {
    for (number, space) in rooms.iter().enumerate().filter(|(_, room)| room.is_space) {
        for child in rooms.iter().skip(number + 1).take(6) {
            let (space, child, token) = (&space.id, &child.id, people[space.members[0]].token());
            let path = format!("/_matrix/client/v3/rooms/{space}/state/m.space.child/{child}");
            let via = people[0].id.split_once(':').map_or("", |(_, name)| name);
            caller.put(&path, token, &json!({ "via": [via] })).await?;
        }
    }
    Ok(())
}

async fn halfway(caller: &Caller, people: &[Person]) -> Result<Vec<Vec<String>>, Failure> {
    let mut all = Vec::new();
    for person in people.iter().take(ASKED) {
        let mut tokens = Vec::new();
        for (token, _) in &person.devices {
            let path = "/_matrix/client/v3/sync?timeout=0&set_presence=offline";
            tokens.push(text(&caller.get(path, token).await?, "next_batch")?);
        }
        all.push(tokens);
    }
    Ok(all)
}

/// Puts a few rooms in place of others, in which ordinary members say nothing any more.
async fn upgrade(caller: &Caller, people: &[Person], rooms: &[Room]) -> Result<usize, Failure> {
    let old = rooms.iter().skip(5).step_by(8).take(3);
    let mut sent = 0;
    for room in old {
        let path = format!("/_matrix/client/v3/rooms/{}/upgrade", room.id);
        let body = json!({ "new_version": "12" });
        let maker = people[room.members[0]].token();
        caller.post(&path, maker, &body).await?;
        sent += 1;
    }
    Ok(sent)
}

/// Invites, leaves, kicks, bans; how many events.
async fn come_and_go(caller: &Caller, people: &[Person], rooms: &[Room]) -> Result<usize, Failure> {
    let mut sent = 0;
    for (number, room) in rooms.iter().enumerate().skip(1) {
        let maker = people[room.members[0]].token();
        let act = async |what: &str, token: &str, body: Value| {
            let path = format!("/_matrix/client/v3/rooms/{}/{what}", room.id);
            caller.post(&path, token, &body).await
        };
        let is_in = |person: &usize| room.members.contains(person);
        // Those who are asked for are invited, or go.
        if let Some(guest) = (0..ASKED).find(|person| !is_in(person)) {
            act("invite", maker, json!({ "user_id": people[guest].id })).await?;
            sent += 1;
        }
        let Some(last) = room
            .members
            .last()
            .copied()
            .filter(|_| room.members.len() > 3)
        else {
            continue;
        };
        let (id, reason) = (&people[last].id, "it is over");
        match number % 8 {
            1 => act("leave", people[last].token(), json!({ "reason": reason })).await?,
            2 => act("kick", maker, json!({ "user_id": id, "reason": reason })).await?,
            3 => act("ban", maker, json!({ "user_id": id, "reason": reason })).await?,
            4 => {
                act("leave", people[last].token(), json!({})).await?;
                act("forget", people[last].token(), json!({})).await?
            }
            _ => continue,
        };
        sent += 1;
    }
    Ok(sent)
}
