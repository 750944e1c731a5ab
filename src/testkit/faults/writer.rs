//! A client that writes: messages, redactions, topics, messages to devices, each until it is acknowledged, by whichever node. Now
//! and then it repeats itself elsewhere, which must change nothing. It also claims keys, and logs devices in and out.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    client::{Client, Question},
};

/// What was acknowledged.
#[derive(Default)]
pub(crate) struct Written {
    /// By body: the event, and when it was acknowledged.
    pub(crate) messages: HashMap<String, (String, Duration)>,
    /// Room and event of what was redacted.
    pub(crate) redacted: Vec<(String, String)>,
    /// What was sent to every reader's devices.
    pub(crate) signals: Vec<String>,
    /// The one-time keys that were claimed, as they were given.
    pub(crate) keys: Vec<String>,
    /// Access tokens of devices that were logged out.
    pub(crate) revoked: Vec<String>,
}

/// A client that writes.
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) rooms: Vec<String>,
    /// Their users and devices.
    pub(crate) readers: Vec<(String, String)>,
    /// How many of them have keys to be claimed, the first ones.
    pub(crate) keyed: usize,
    /// The writer's own user name.
    pub(crate) user: String,
    /// From which times are counted.
    pub(crate) start: Instant,
}

impl Writer {
    /// Writes until it is time.
    pub(crate) async fn write(mut self, until: Duration) -> Result<Written, Failure> {
        let mut written = Written::default();
        let mut number = 0;
        while self.start.elapsed() < until {
            number += 1;
            let id = format!("{}-{number}", self.name);
            match self.client.dice.below(20) {
                0 | 1 => self.redact(&mut written, &id).await?,
                2 | 3 => self.signal(&mut written, &id).await?,
                4 => self.set_topic(&id).await?,
                5 | 6 => self.claim(&mut written).await?,
                7 => self.come_and_go(&mut written).await?,
                _ => self.say(&mut written, &id).await?,
            }
            let pause = self.client.dice.millis(10, 80);
            sleep(pause).await;
        }
        Ok(written)
    }

    /// Says in every room, and to every device, that this is the end.
    pub(crate) async fn end(mut self) -> Result<Written, Failure> {
        let mut written = Written::default();
        for room in self.rooms.clone() {
            let id = format!("end of {room}").replace(' ', "%20");
            self.say_in(&mut written, &id, &room).await?;
        }
        self.signal(&mut written, "end").await?;
        Ok(written)
    }

    async fn say(&mut self, written: &mut Written, id: &str) -> Result<(), Failure> {
        let room = self.client.dice.below(self.rooms.len());
        let room = self.rooms[room].clone();
        self.say_in(written, id, &room).await
    }

    async fn say_in(&mut self, written: &mut Written, id: &str, room: &str) -> Result<(), Failure> {
        let path = format!("/rooms/{room}/send/m.room.message/{id}");
        let body = json!({ "msgtype": "m.text", "body": id });
        let event = self.twice(&path, &body).await?;
        let at = self.start.elapsed();
        written.messages.insert(id.to_owned(), (event, at));
        Ok(())
    }

    async fn redact(&mut self, written: &mut Written, id: &str) -> Result<(), Failure> {
        let before = written.redacted.len();
        let mut bodies: Vec<_> = written.messages.iter().collect();
        bodies.sort_unstable();
        let Some((_, (event, _))) = bodies.get(before * 3) else {
            return Ok(());
        };
        let event = event.clone();
        for room in self.rooms.clone() {
            let path = format!("/rooms/{room}/event/{event}");
            if self.client.insist(Question::get(&path)).await.is_err() {
                continue;
            }
            let path = format!("/rooms/{room}/redact/{event}/{id}");
            self.twice(&path, &json!({})).await?;
            written.redacted.push((room, event));
            break;
        }
        Ok(())
    }

    async fn signal(&mut self, written: &mut Written, id: &str) -> Result<(), Failure> {
        let path = format!("/sendToDevice/test.signal/{id}");
        let each = json!({ "*": { "id": id } });
        let to = self.readers.iter();
        let to = to.map(|(reader, _)| (reader.clone(), each.clone()));
        let messages: serde_json::Map<_, _> = to.collect();
        let body = json!({ "messages": messages });
        self.client.move_on();
        self.client.insist(Question::put(&path, body)).await?;
        written.signals.push(id.to_owned());
        Ok(())
    }

    async fn set_topic(&mut self, id: &str) -> Result<(), Failure> {
        let room = self.client.dice.below(self.rooms.len());
        let path = format!("/rooms/{}/state/m.room.topic", self.rooms[room]);
        self.client.move_on();
        let question = Question::put(&path, json!({ "topic": id }));
        self.client.insist(question).await?;
        Ok(())
    }

    /// Claims a key of a reader's device. One whose answer is lost is nobody's.
    async fn claim(&mut self, written: &mut Written) -> Result<(), Failure> {
        let reader = self.client.dice.below(self.keyed);
        let (user, device) = self.readers[reader].clone();
        let body = json!({ "one_time_keys": { &user: { &device: "signed_curve25519" } } });
        self.client.move_on();
        let claimed = self
            .client
            .insist(Question::post("/keys/claim", body))
            .await?;
        let keys = claimed["one_time_keys"][&user][&device].as_object();
        let names = keys.into_iter().flat_map(|keys| keys.keys());
        written
            .keys
            .extend(names.map(|key| format!("{user} {key}")));
        Ok(())
    }

    /// Logs a device in, looks into the rooms with it, and logs it out.
    async fn come_and_go(&mut self, written: &mut Written) -> Result<(), Failure> {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.user },
            "password": format!("{}'s password", self.user),
        });
        self.client.move_on();
        let login = self.client.insist(Question::post("/login", body)).await?;
        let token = login["access_token"].as_str().ok_or("no token")?.to_owned();
        let own = self.client.speak_for(token.clone());
        let seen = self.client.insist(Question::get("/sync")).await;
        let out = self.client.log_out().await;
        self.client.speak_for(own);
        let joined = seen?["rooms"]["join"].as_object().map_or(0, |it| it.len());
        if joined != self.rooms.len() {
            return Err(format!("a new device of {} sees {joined} rooms", self.user).into());
        }
        out?;
        written.revoked.push(token);
        Ok(())
    }

    /// Sends, and now and then sends the same again; gives the event.
    async fn twice(&mut self, path: &str, body: &serde_json::Value) -> Result<String, Failure> {
        self.client.move_on();
        let first = self
            .client
            .insist(Question::put(path, body.clone()))
            .await?;
        if self.client.dice.below(6) == 0 {
            self.client.move_on();
            let again = self
                .client
                .insist(Question::put(path, body.clone()))
                .await?;
            if again != first {
                return Err(format!("{path} made two events: {first} and {again}").into());
            }
        }
        let event = first["event_id"]
            .as_str()
            .ok_or("an answer without an event")?;
        Ok(event.to_owned())
    }
}
