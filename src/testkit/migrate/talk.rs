//! What is said in the rooms: texts, threads, reactions, edits, redactions, mentions, topics, receipts. In each room one after the
//! other, in many rooms at once.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    Failure,
    caller::{Caller, text},
    world::{AT_ONCE, Person, Room, spread},
};

/// Of which texts are made.
const WORDS: [&str; 16] = [
    "station", "ticket", "seven", "garden", "river", "letter", "market", "winter", "bridge",
    "candle", "harbour", "window", "paper", "silver", "music", "morning",
];

/// How many events of a room are asked for.
const NOTABLE: usize = 12;

/// A conversation under way.
pub(crate) struct Talk {
    room: usize,
    number: usize,
    /// Where the present thread begins.
    root: Option<String>,
    /// The last message, and who sent it.
    last: Option<(String, usize)>,
}

impl Talk {
    /// One that has not begun.
    pub(crate) fn in_room(room: usize) -> Self {
        Self {
            room,
            number: 0,
            root: None,
            last: None,
        }
    }
}

/// Goes on with all conversations by `each` events; how many were sent.
pub(crate) async fn all(
    caller: &Caller,
    people: &[Person],
    rooms: &mut [Room],
    talks: &mut [Talk],
    each: usize,
) -> Result<usize, Failure> {
    let going = stream::iter(rooms.iter_mut().zip(talks)).map(|(room, talk)| async move {
        let mut sent = 0;
        // In the first room, where everybody is, there is more to say.
        let count = if talk.room == 0 { each * 5 } else { each };
        while sent < count {
            sent += usize::from(next(caller, people, room, talk).await?);
        }
        Ok::<_, Failure>(sent)
    });
    let sent: Vec<usize> = going.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(sent.iter().sum())
}

/// The next thing that happens; whether it is an event.
async fn next(
    caller: &Caller,
    people: &[Person],
    room: &mut Room,
    talk: &mut Talk,
) -> Result<bool, Failure> {
    talk.number += 1;
    let number = talk.number;
    // The last one may be sent away meanwhile.
    let stay = room.members.len().saturating_sub(1).max(1);
    let sender = room.members[spread(number * 31 + talk.room, stay)];
    let token = people[sender].token();
    let base = format!("/_matrix/client/v3/rooms/{}", room.id);
    let transaction = format!("{}-{number}", talk.room);
    if number % 25 == 19
        && let Some((event, _)) = &talk.last
    {
        let kind = ["m.read", "m.read.private", "m.fully_read"][number / 25 % 3];
        let path = format!("{base}/receipt/{kind}/{event}");
        let body = match kind {
            "m.fully_read" => json!({}),
            _ => json!({ "thread_id": "main" }),
        };
        caller.post(&path, token, &body).await?;
        return Ok(false);
    }
    if number % 50 == 11 {
        let topic = json!({ "topic": format!("topic {number}: {}", words(number)) });
        let path = format!("{base}/state/m.room.topic");
        return caller.put(&path, token, &topic).await.map(|_| true);
    }
    if number % 100 == 13 {
        let name = format!("Person {sender}, for the {number}th time");
        let member = json!({ "membership": "join", "displayname": name });
        let path = format!("{base}/state/m.room.member/{}", people[sender].id);
        return caller.put(&path, token, &member).await.map(|_| true);
    }
    if number % 40 == 9
        && let Some((event, _)) = talk.last.take()
    {
        let path = format!("{base}/redact/{event}/{transaction}");
        let reason = json!({ "reason": "that was wrong" });
        caller.put(&path, token, &reason).await?;
        note(room, event);
        return Ok(true);
    }
    say(caller, people, room, talk, sender).await?;
    Ok(true)
}

async fn say(
    caller: &Caller,
    people: &[Person],
    room: &mut Room,
    talk: &mut Talk,
    mut sender: usize,
) -> Result<(), Failure> {
    let (number, mut kind) = (talk.number, "m.room.message");
    let mut content = json!({ "msgtype": "m.text", "body": words(number * 97 + talk.room) });
    let last = talk.last.clone();
    match (number % 20, &last, &talk.root) {
        (3 | 13, Some((event, _)), Some(root)) => {
            content["m.relates_to"] = json!({
                "rel_type": "m.thread",
                "event_id": root,
                "is_falling_back": true,
                "m.in_reply_to": { "event_id": event },
            });
            note(room, root.clone());
        }
        (5 | 15, Some((event, _)), _) => {
            kind = "m.reaction";
            let key = ["👍", "🎉"][number / 20 % 2];
            let about = json!({ "rel_type": "m.annotation", "event_id": event, "key": key });
            content = json!({ "m.relates_to": about });
            note(room, event.clone());
        }
        (7, Some((event, by)), _) => {
            sender = *by;
            let new = content.clone();
            content["m.new_content"] = new;
            content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
            note(room, event.clone());
        }
        (17, _, _) => {
            let other = &people[room.members[spread(number, room.members.len())]].id;
            content["m.mentions"] = json!({ "user_ids": [other] });
        }
        _ => {}
    }
    let path = format!(
        "/_matrix/client/v3/rooms/{}/send/{kind}/{}-{number}",
        room.id, talk.room
    );
    let sent: Value = caller.put(&path, people[sender].token(), &content).await?;
    if content.get("m.relates_to").is_none() {
        let event = text(&sent, "event_id")?;
        if number % 50 == 1 {
            talk.root = Some(event.clone());
        }
        talk.last = Some((event, sender));
    }
    Ok(())
}

/// Keeps the newest events to which something happened.
fn note(room: &mut Room, event: String) {
    if room.notable.last() == Some(&event) {
        return;
    }
    if room.notable.len() == NOTABLE {
        room.notable.remove(0);
    }
    room.notable.push(event);
}

fn words(number: usize) -> String {
    let said = (0..3 + spread(number, 9)).map(|n| WORDS[spread(number * 13 + n, WORDS.len())]);
    said.collect::<Vec<_>>().join(" ")
}
