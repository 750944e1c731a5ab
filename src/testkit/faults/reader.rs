//! A client that syncs, as clients do: it keeps the token of the last answer, asks another node when one does not answer, and
//! fills gaps from the history.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Failure,
    client::{Client, Question},
};

/// What is asked for of each room.
const FILTER: &str = "%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:5%7D%7D,%22presence%22:%7B%22types%22:%5B%5D%7D%7D";

/// How many pages a gap has at most.
const PAGES: usize = 100;

/// What a reader saw.
#[derive(Default)]
pub(crate) struct Read {
    /// By room the messages in the order in which they came: event, and when it came.
    pub(crate) timelines: HashMap<String, Vec<(String, Duration)>>,
    /// Messages to the device, in their order.
    pub(crate) signals: Vec<String>,
    /// How often there was a gap to fill.
    pub(crate) gaps: usize,
    /// Bodies by event.
    pub(crate) bodies: HashMap<String, String>,
}

/// A client that reads.
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) rooms: Vec<String>,
    pub(crate) start: Instant,
}

impl Reader {
    /// Reads until it has the end of every room and the last message to the device, or it is time.
    pub(crate) async fn read(mut self, until: Duration) -> Result<Read, Failure> {
        let mut read = Read::default();
        let mut since: Option<String> = None;
        while self.start.elapsed() < until {
            let path = match &since {
                None => format!("/sync?timeout=0&filter={FILTER}"),
                Some(since) => format!("/sync?timeout=3000&filter={FILTER}&since={since}"),
            };
            let answer = self.client.insist(Question::get(&path)).await?;
            self.take_in(&mut read, &answer, since.is_some()).await?;
            let next = answer["next_batch"]
                .as_str()
                .ok_or("a sync without an end")?;
            since = Some(next.to_owned());
            if self.has_all(&read) {
                return Ok(read);
            }
        }
        Err(format!("{} waits for the end in vain", self.name).into())
    }

    fn has_all(&self, read: &Read) -> bool {
        let ends = read
            .bodies
            .values()
            .filter(|body| body.starts_with("end%20of"));
        ends.count() == self.rooms.len() && read.signals.last().is_some_and(|id| id == "end")
    }

    async fn take_in(
        &mut self,
        read: &mut Read,
        answer: &Value,
        goes_on: bool,
    ) -> Result<(), Failure> {
        for signal in list(&answer["to_device"]["events"]) {
            if signal["type"] == "test.signal" {
                let id = signal["content"]["id"].as_str().unwrap_or_default();
                read.signals.push(id.to_owned());
            }
        }
        for room in self.rooms.clone() {
            let timeline = &answer["rooms"]["join"][&room]["timeline"];
            let mut events: Vec<Value> = list(&timeline["events"]).to_vec();
            if timeline["limited"] == true && goes_on {
                read.gaps += 1;
                let from = timeline["prev_batch"]
                    .as_str()
                    .ok_or("a gap without a token")?;
                let mut missed = self.missed(read, &room, from).await?;
                missed.append(&mut events);
                events = missed;
            }
            let at = self.start.elapsed();
            for event in events {
                note(read, &room, &event, at);
            }
        }
        Ok(())
    }

    /// The events before `from` that are not known, the oldest first.
    async fn missed(&mut self, read: &Read, room: &str, from: &str) -> Result<Vec<Value>, Failure> {
        let known = read.timelines.get(room).into_iter().flatten();
        let known: HashSet<&str> = known.map(|(event, _)| event.as_str()).collect();
        let (mut missed, mut from) = (Vec::new(), from.to_owned());
        for _ in 0..PAGES {
            let path = format!("/rooms/{room}/messages?dir=b&limit=50&from={from}");
            let page = self.client.insist(Question::get(&path)).await?;
            for event in list(&page["chunk"]) {
                if known.contains(event["event_id"].as_str().unwrap_or_default()) {
                    missed.reverse();
                    return Ok(missed);
                }
                missed.push(event.clone());
            }
            match page["end"].as_str() {
                Some(end) => from = end.to_owned(),
                None => break,
            }
        }
        missed.reverse();
        Ok(missed)
    }
}

/// The elements of a list; none if it is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn note(read: &mut Read, room: &str, event: &Value, at: Duration) {
    if event["type"] != "m.room.message" {
        return;
    }
    let id = event["event_id"].as_str().unwrap_or_default().to_owned();
    if let Some(body) = event["content"]["body"].as_str() {
        read.bodies.insert(id.clone(), body.to_owned());
    }
    let timeline = read.timelines.entry(room.to_owned()).or_default();
    timeline.push((id, at));
}
