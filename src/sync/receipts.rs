//! Owns receipts: how far others have read, and the user. Must never show a private one to anybody but its user.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receipts>

use std::collections::BTreeMap;

use hearth_rooms::Receipt;
use ruma::{MilliSecondsSinceUnixEpoch, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    Error, filter,
    window::{Reading, RoomWindow},
};

/// The receipts of a room.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// One, unless a user has receipts at the same event for several threads.
    pub(crate) events: Vec<Box<RawValue>>,
    /// Whether one of the user's own moved, with which the counts change even if no receipt is to be shown.
    own_moved: bool,
}

impl Receipts {
    /// Whether nothing follows from them.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.own_moved
    }
}

/// The receipts that moved since the last answer; in a room that is new to the device, all.
pub(crate) async fn read(reading: &Reading<'_>, room: &RoomWindow<'_>) -> Result<Receipts, Error> {
    let all;
    let moved = match room.since {
        Some(_) => &room.signals.receipts,
        None => {
            let (rooms, view) = (reading.rooms(), reading.view);
            let mut found = rooms.receipts(view, room.id).await?;
            // The user's own may be beyond the limit of the others.
            let own = rooms.receipts_of(view, room.id, reading.user()).await?;
            found.retain(|receipt| receipt.user != reading.user());
            found.extend(own);
            all = found;
            &all
        }
    };
    let user = reading.user();
    let own_moved = moved.iter().any(|receipt| receipt.user == user);
    let wanted = &reading.request.filter.room.ephemeral;
    let events =
        if filter::passes_section(wanted, room.id) && filter::passes_type(wanted, "m.receipt") {
            let shown = |receipt: &&Receipt| !receipt.is_private || receipt.user == user;
            events(moved.iter().filter(shown))
        } else {
            Vec::new()
        };
    Ok(Receipts { events, own_moved })
}

#[derive(Serialize)]
struct Mark<'a> {
    ts: MilliSecondsSinceUnixEpoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
}

/// Event to kind to user to mark.
type Content<'a> = BTreeMap<&'a str, BTreeMap<&'static str, BTreeMap<&'a UserId, Mark<'a>>>>;

fn events<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Vec<Box<RawValue>> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        content: &'a Content<'a>,
    }
    let mut contents: Vec<Content<'_>> = Vec::new();
    for receipt in receipts {
        let kind = match receipt.is_private {
            true => "m.read.private",
            false => "m.read",
        };
        let mark = Mark {
            ts: receipt.time,
            thread_id: receipt.thread.as_str(),
        };
        let taken = |content: &Content<'_>| {
            let kinds = content.get(receipt.event_id.as_str());
            let users = kinds.and_then(|kinds| kinds.get(kind));
            users.is_some_and(|users| users.contains_key(&*receipt.user))
        };
        let at = match contents.iter().position(|content| !taken(content)) {
            Some(at) => at,
            None => {
                contents.push(Content::new());
                contents.len() - 1
            }
        };
        contents[at]
            .entry(&receipt.event_id)
            .or_default()
            .entry(kind)
            .or_default()
            .insert(&receipt.user, mark);
    }
    let event = |content| {
        let event = Event {
            kind: "m.receipt",
            content,
        };
        // Strings and numbers always serialise.
        to_raw_value(&event).unwrap_or_else(|_| RawValue::NULL.to_owned())
    };
    contents.iter().map(event).collect()
}
