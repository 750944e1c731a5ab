//! What users have beside rooms: profiles, account data, tags, push rules, filters, keys, their backup, messages between devices. The
//! signatures are none, as the server does not look at them.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    Failure,
    caller::{Caller, text},
    world::{ASKED, AT_ONCE, Person, Room},
};

/// Messages to each device of those who are asked for.
const SIGNALS: usize = 5;

/// Makes all of it; gives the id of a filter of each of those who are asked for.
pub(crate) async fn all(
    caller: &Caller,
    people: &[Person],
    rooms: &[Room],
) -> Result<Vec<String>, Failure> {
    let everybody = stream::iter(people.iter().enumerate());
    everybody
        .map(|(number, person)| keys(caller, number, person))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let mut filters = Vec::new();
    for number in 0..ASKED {
        let person = Settler {
            caller,
            person: &people[number],
            number,
        };
        person.show().await?;
        person.note(people, rooms).await?;
        person.rule(rooms).await?;
        person.back_up(rooms).await?;
        person.signal(people).await?;
        filters.push(person.filter().await?);
    }
    Ok(filters)
}

/// Keys of both devices, and those that sign each other.
async fn keys(caller: &Caller, number: usize, person: &Person) -> Result<(), Failure> {
    let id = &person.id;
    for (token, device) in &person.devices {
        let signed = |key: String| json!({ "key": key, "signatures": { id: { format!("ed25519:{device}"): "z" } } });
        let once = (0..5).map(|n| {
            (
                format!("signed_curve25519:K{n}"),
                signed(format!("once{n}")),
            )
        });
        let once: serde_json::Map<_, _> = once.collect();
        let mut fallback = signed("fallback".to_owned());
        fallback["fallback"] = json!(true);
        let body = json!({
            "device_keys": {
                "user_id": id,
                "device_id": device,
                "algorithms": ["m.megolm.v1.aes-sha2"],
                "keys": { format!("ed25519:{device}"): "x", format!("curve25519:{device}"): "y" },
                "signatures": {},
            },
            "one_time_keys": once,
            "fallback_keys": { "signed_curve25519:F": fallback },
        });
        caller
            .post("/_matrix/client/v3/keys/upload", token, &body)
            .await?;
    }
    // As long as a key is.
    let key = format!("{:A<43}", format!("person{number}"));
    let master =
        json!({ "user_id": id, "usage": ["master"], "keys": { format!("ed25519:{key}"): key } });
    let path = "/_matrix/client/v3/keys/device_signing/upload";
    let body = json!({ "master_key": master });
    caller.post(path, person.token(), &body).await?;
    Ok(())
}

/// Somebody who makes settings.
struct Settler<'a> {
    caller: &'a Caller,
    person: &'a Person,
    number: usize,
}

impl Settler<'_> {
    async fn put(&self, path: &str, body: Value) -> Result<Value, Failure> {
        let path = format!("/_matrix/client/v3{path}");
        self.caller.put(&path, self.person.token(), &body).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        let path = format!("/_matrix/client/v3{path}");
        self.caller.post(&path, self.person.token(), &body).await
    }

    async fn show(&self) -> Result<(), Failure> {
        let profile = format!("/profile/{}", self.person.id);
        let (face, zone) = (
            format!("mxc://example.org/face{}", self.number),
            "Europe/Berlin",
        );
        self.put(
            &format!("{profile}/avatar_url"),
            json!({ "avatar_url": face }),
        )
        .await?;
        self.put(&format!("{profile}/m.tz"), json!({ "m.tz": zone }))
            .await?;
        let device = &self.person.devices[1].1;
        let name = json!({ "display_name": format!("the desk of {}", self.number) });
        self.put(&format!("/devices/{device}"), name).await?;
        Ok(())
    }

    async fn note(&self, people: &[Person], rooms: &[Room]) -> Result<(), Failure> {
        let base = format!("/user/{}", self.person.id);
        for kind in ["org.example.one", "org.example.two"] {
            let path = format!("{base}/account_data/{kind}");
            self.put(&path, json!({ "of": self.number, "kind": kind }))
                .await?;
        }
        let ignored = &people[people.len() - 1 - self.number].id;
        let path = format!("{base}/account_data/m.ignored_user_list");
        self.put(&path, json!({ "ignored_users": { ignored: {} } }))
            .await?;
        let own = rooms
            .iter()
            .filter(|room| room.members.contains(&self.number));
        for (number, room) in own.take(4).enumerate() {
            let base = format!("{base}/rooms/{}", room.id);
            let path = format!("{base}/account_data/org.example.room");
            self.put(&path, json!({ "number": number })).await?;
            let path = format!("{base}/tags/u.{number}");
            self.put(&path, json!({ "order": 0.5 })).await?;
        }
        Ok(())
    }

    async fn rule(&self, rooms: &[Room]) -> Result<(), Failure> {
        let word =
            json!({ "pattern": "harbour", "actions": ["notify", { "set_tweak": "highlight" }] });
        self.put("/pushrules/global/content/harbour", word).await?;
        let silent = format!("/pushrules/global/room/{}", rooms[self.number].id);
        self.put(&silent, json!({ "actions": [] })).await?;
        let pusher = json!({
            "app_id": "org.example.app",
            "pushkey": format!("key{}", self.number),
            "kind": "http",
            "lang": "en",
            "app_display_name": "App",
            "device_display_name": "phone",
            "data": { "url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only" },
        });
        self.post("/pushers/set", pusher).await?;
        Ok(())
    }

    async fn back_up(&self, rooms: &[Room]) -> Result<(), Failure> {
        let about = json!({
            "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
            "auth_data": { "public_key": "abc" },
        });
        let version = text(&self.post("/room_keys/version", about).await?, "version")?;
        let session = json!({
            "first_message_index": 1,
            "forwarded_count": 0,
            "is_verified": false,
            "session_data": { "ciphertext": "x", "ephemeral": "y", "mac": "z" },
        });
        let all = rooms.iter().take(8).map(|room| {
            let sessions = json!({ "sessions": { "one": session, "two": session } });
            (room.id.clone(), sessions)
        });
        let all: serde_json::Map<_, _> = all.collect();
        let path = format!("/room_keys/keys?version={version}");
        self.put(&path, json!({ "rooms": all })).await?;
        Ok(())
    }

    async fn signal(&self, people: &[Person]) -> Result<(), Failure> {
        for number in 0..SIGNALS {
            let body = json!({ "*": { "from": self.number, "number": number } });
            let to = people.iter().take(ASKED);
            let to = to.map(|person| (person.id.clone(), body.clone()));
            let messages: serde_json::Map<_, _> = to.collect();
            let path = format!("/sendToDevice/org.example.signal/{number}");
            self.put(&path, json!({ "messages": messages })).await?;
        }
        Ok(())
    }

    async fn filter(&self) -> Result<String, Failure> {
        let path = format!("/user/{}/filter", self.person.id);
        let body = json!({
            "room": {
                "state": { "lazy_load_members": true },
                "timeline": { "limit": 5 + self.number, "unread_thread_notifications": true },
                "include_leave": self.number.is_multiple_of(2),
            },
        });
        text(&self.post(&path, body).await?, "filter_id")
    }
}
