//! What is asked of each server, by which every chapter of the specification that reads something is touched. Owns the answers of the
//! first one. Must never ask for something that changes what is asked for later.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/>

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    Failure,
    caller::Caller,
    place::Site,
    world::{ASKED, Person, Room, World},
};

/// How many of somebody's rooms are looked at closely.
const ROOMS: usize = 5;

/// How many pages are followed.
const PAGES: usize = 4;

/// How many events of a room are looked at.
const EVENTS: usize = 4;

/// `{"lazy_load_members":true}`, and the same of a room's state.
const LAZY: &str = "%7B%22lazy_load_members%22%3Atrue%7D";
const LAZY_SYNC: &str = "%7B%22room%22%3A%7B%22state%22%3A%7B%22lazy_load_members%22%3Atrue%7D%2C%22timeline%22%3A%7B%22limit%22%3A20%7D%7D%7D";

/// A question and its answer.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The whole `Authorization`.
    pub(crate) credentials: String,
    pub(crate) question: Value,
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks everything.
pub(crate) async fn ask(
    caller: &Caller,
    site: &Site,
    world: &World,
) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for (number, person) in world.people.iter().take(ASKED).enumerate() {
        let mut asker = Asker {
            caller,
            world,
            person,
            number,
            name: site.name(),
            asked: &mut asked,
        };
        asker.sync().await?;
        asker.own().await?;
        asker.others().await?;
        asker.directory().await?;
        asker.search().await?;
        let own = world
            .rooms
            .iter()
            .filter(|room| room.members.contains(&number));
        let spaces = world.rooms.iter().filter(|room| room.is_space).take(2);
        // The last one is the one that was resolved.
        for room in own
            .clone()
            .take(ROOMS)
            .chain(own.clone().next_back())
            .chain(spaces)
        {
            asker.room(room).await?;
            asker.pages(room).await?;
            for event in room.notable.iter().rev().take(EVENTS) {
                asker.event(room, event).await?;
            }
        }
    }
    for (path, credentials) in &world.by_servers {
        let (path, credentials) = (path.clone(), credentials.clone());
        keep(
            caller,
            &mut asked,
            Method::GET,
            path,
            credentials,
            Value::Null,
        )
        .await?;
    }
    let wrong = asked
        .iter()
        .find(|one| one.status >= 500 || one.status == 401);
    if let Some(Asked {
        path, status, body, ..
    }) = wrong
    {
        return Err(format!("{path}: {status} {body}").into());
    }
    Ok(asked)
}

async fn keep(
    caller: &Caller,
    asked: &mut Vec<Asked>,
    method: Method,
    path: String,
    credentials: String,
    question: Value,
) -> Result<Value, Failure> {
    let (status, body) = caller
        .ask(method.clone(), &path, &credentials, &question)
        .await?;
    let answer = serde_json::from_str(&body).unwrap_or_default();
    asked.push(Asked {
        method,
        path,
        credentials,
        question,
        status,
        body,
    });
    Ok(answer)
}

/// Asks in somebody's name.
struct Asker<'a> {
    caller: &'a Caller,
    world: &'a World,
    person: &'a Person,
    number: usize,
    /// The server's.
    name: String,
    asked: &'a mut Vec<Asked>,
}

impl Asker<'_> {
    async fn with(&mut self, device: usize, path: String) -> Result<Value, Failure> {
        let credentials = format!("Bearer {}", self.person.devices[device].0);
        let path = format!("/_matrix/client/{path}");
        keep(
            self.caller,
            self.asked,
            Method::GET,
            path,
            credentials,
            Value::Null,
        )
        .await
    }

    async fn get(&mut self, path: impl Into<String>) -> Result<Value, Failure> {
        self.with(0, format!("v3/{}", path.into())).await
    }

    async fn get_v1(&mut self, path: String) -> Result<Value, Failure> {
        self.with(0, format!("v1/{path}")).await
    }

    async fn post(&mut self, path: impl Into<String>, question: Value) -> Result<Value, Failure> {
        let credentials = format!("Bearer {}", self.person.token());
        let path = format!("/_matrix/client/v3/{}", path.into());
        keep(
            self.caller,
            self.asked,
            Method::POST,
            path,
            credentials,
            question,
        )
        .await
    }

    /// First syncs, and from where the devices were.
    async fn sync(&mut self) -> Result<(), Failure> {
        let (base, filter) = (
            "v3/sync?timeout=0&set_presence=offline",
            self.world.filters[self.number].clone(),
        );
        for (device, since) in self.world.halfway[self.number].iter().enumerate() {
            for more in [
                String::new(),
                format!("&filter={LAZY_SYNC}"),
                format!("&filter={filter}"),
                format!("&since={since}"),
                format!("&since={since}&filter={LAZY_SYNC}"),
                format!("&since={since}&filter={filter}&use_state_after=true"),
                format!("&since={since}&full_state=true"),
            ] {
                let answer = self.with(device, format!("{base}{more}")).await?;
                let next = answer["next_batch"].as_str().unwrap_or_default();
                let path = format!("v3/keys/changes?from={since}&to={next}");
                self.with(device, path).await?;
            }
        }
        Ok(())
    }

    /// What somebody has beside rooms.
    async fn own(&mut self) -> Result<(), Failure> {
        let id = self.person.id.clone();
        for path in [
            "joined_rooms",
            "devices",
            "pushers",
            "pushrules/",
            "pushrules/global/",
            "room_keys/version",
            "account/whoami",
            "account/3pid",
            "capabilities",
            "notifications?limit=20",
            "notifications?limit=20&only=highlight",
            "pushrules/global/content/harbour",
            "pushrules/global/content/harbour/actions",
        ] {
            self.get(path).await?;
        }
        for kind in [
            "org.example.one",
            "org.example.two",
            "org.example.none",
            "m.ignored_user_list",
            "m.push_rules",
        ] {
            self.get(format!("user/{id}/account_data/{kind}")).await?;
        }
        let filter = &self.world.filters[self.number];
        self.get(format!("user/{id}/filter/{filter}")).await?;
        for (_, device) in &self.person.devices {
            self.get(format!("devices/{device}")).await?;
        }
        let version = self.get("room_keys/version").await?;
        let version = version["version"].as_str().unwrap_or_default();
        self.get(format!("room_keys/keys?version={version}"))
            .await?;
        self.get(format!("admin/whois/{id}")).await?;
        if self.number == 0 {
            let path = "/_synapse/admin/v2/users?limit=100".to_owned();
            let credentials = format!("Bearer {}", self.person.token());
            let caller = self.caller;
            keep(
                caller,
                self.asked,
                Method::GET,
                path,
                credentials,
                Value::Null,
            )
            .await?;
        }
        Ok(())
    }

    /// What others show.
    async fn others(&mut self) -> Result<(), Failure> {
        let people = self.world.people.iter();
        let ids: Vec<String> = people.map(|person| person.id.clone()).take(20).collect();
        for id in ids.iter().take(ASKED) {
            self.get(format!("profile/{id}")).await?;
            self.get(format!("profile/{id}/m.tz")).await?;
            self.get_v1(format!("mutual_rooms?user_id={id}")).await?;
        }
        let all = ids.iter().map(|id| (id.clone(), json!([])));
        let all: serde_json::Map<_, _> = all.collect();
        self.post("keys/query", json!({ "device_keys": all }))
            .await?;
        for term in ["person", "Person 1", "nobody"] {
            let question = json!({ "search_term": term, "limit": 20 });
            self.post("user_directory/search", question).await?;
        }
        Ok(())
    }

    /// Rooms that can be found.
    async fn directory(&mut self) -> Result<(), Failure> {
        let name = self.name.clone();
        for alias in self
            .world
            .rooms
            .iter()
            .filter_map(|room| room.alias.as_ref())
            .take(10)
        {
            self.get(format!("directory/room/%23{alias}:{name}"))
                .await?;
        }
        self.get(format!("directory/room/%23nothing:{name}"))
            .await?;
        let mut from = String::new();
        for _ in 0..PAGES {
            let page = self.get(format!("publicRooms?limit=5{from}")).await?;
            let Some(next) = page["next_batch"].as_str() else {
                break;
            };
            from = format!("&since={next}");
        }
        let wanted = json!({ "limit": 10, "filter": { "generic_search_term": "Room 1" } });
        self.post("publicRooms", wanted).await?;
        Ok(())
    }

    /// What was said, by words.
    async fn search(&mut self) -> Result<(), Failure> {
        for (word, order) in [
            ("harbour", "recent"),
            ("silver bridge", "rank"),
            ("absent", "recent"),
        ] {
            let question = json!({
                "search_categories": {
                    "room_events": {
                        "search_term": word,
                        "order_by": order,
                        "include_state": true,
                        "event_context": { "before_limit": 2, "after_limit": 2, "include_profile": true },
                        "groupings": { "group_by": [{ "key": "room_id" }, { "key": "sender" }] },
                    },
                },
            });
            let page = self.post("search", question.clone()).await?;
            let found = &page["search_categories"]["room_events"];
            if let Some(next) = found["next_batch"].as_str() {
                self.post(format!("search?next_batch={next}"), question)
                    .await?;
            }
        }
        Ok(())
    }

    /// What a room is now, and was.
    async fn room(&mut self, room: &Room) -> Result<(), Failure> {
        let (id, user) = (&room.id, self.person.id.clone());
        let since = self.world.halfway[self.number][0].clone();
        for what in [
            "state",
            "members",
            "joined_members",
            "aliases",
            "initialSync?limit=10",
            "members?membership=join",
            "members?not_membership=join",
            "state/m.room.topic",
            "state/m.room.create",
            "state/m.room.power_levels",
            "state/m.room.topic?format=event",
            "state/org.example.none/x",
        ] {
            self.get(format!("rooms/{id}/{what}")).await?;
        }
        self.get(format!("rooms/{id}/members?at={since}")).await?;
        self.get(format!("directory/list/room/{id}")).await?;
        self.get(format!("user/{user}/rooms/{id}/tags")).await?;
        self.get(format!(
            "user/{user}/rooms/{id}/account_data/org.example.room"
        ))
        .await?;
        self.get_v1(format!("room_summary/{id}")).await?;
        self.get_v1(format!("rooms/{id}/hierarchy?limit=4")).await?;
        for include in ["all", "participated"] {
            let mut from = String::new();
            for _ in 0..PAGES {
                let path = format!("rooms/{id}/threads?include={include}&limit=3{from}");
                let page = self.get_v1(path).await?;
                let Some(next) = page["next_batch"].as_str() else {
                    break;
                };
                from = format!("&from={next}");
            }
        }
        Ok(())
    }

    /// What was said in a room, page by page.
    async fn pages(&mut self, room: &Room) -> Result<(), Failure> {
        let id = &room.id;
        let since = self.world.halfway[self.number][0].clone();
        for start in [
            "dir=b".to_owned(),
            "dir=f".to_owned(),
            format!("dir=b&filter={LAZY}"),
            format!("dir=b&from={since}"),
            format!("dir=f&from={since}"),
        ] {
            let (direction, _) = start.split_once('&').unwrap_or((start.as_str(), ""));
            let mut query = start.clone();
            for _ in 0..PAGES {
                let path = format!("rooms/{id}/messages?limit=25&{query}");
                let page = self.get(path).await?;
                let Some(end) = page["end"].as_str() else {
                    break;
                };
                query = format!("{direction}&from={end}");
            }
        }
        Ok(())
    }

    /// An event, what lies around it, and what is about it.
    async fn event(&mut self, room: &Room, event: &str) -> Result<(), Failure> {
        let id = &room.id;
        let found = self.get(format!("rooms/{id}/event/{event}")).await?;
        self.get(format!("rooms/{id}/context/{event}?limit=10"))
            .await?;
        self.get(format!("rooms/{id}/context/{event}?limit=5&filter={LAZY}"))
            .await?;
        for more in [
            "",
            "/m.thread",
            "/m.annotation",
            "/m.replace/m.room.message",
        ] {
            let path = format!("rooms/{id}/relations/{event}{more}?limit=10&recurse=true");
            self.get_v1(path).await?;
        }
        if let Some(at) = found["origin_server_ts"].as_u64() {
            for direction in ["f", "b"] {
                let path = format!("rooms/{id}/timestamp_to_event?ts={at}&dir={direction}");
                self.get_v1(path).await?;
            }
        }
        Ok(())
    }
}
