//! Owns finding events by the words in them: an inverted index by room, written and withdrawn in the same batch as the event,
//! and questions to it. Must never show an event that its reader may not see, nor look at more than a question may cost:
//! see [`MAX_LOOKED_AT_IN_ALL`].
//!
//! Words are cut by the rules of Unicode, so that they are also found in languages that write without spaces. Only what
//! the server can read is found: encrypted messages are searched by clients.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#search>

use std::{collections::BTreeSet, sync::Arc};

use hearth_protocol::Pdu;
use hearth_store::{Batch, Direction, Family, Position, Table, View};
use ruma::{RoomId, UserId};
use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::{Error, Head, Rooms, StoredEvent};

/// (number of the room, word, position of the event).
pub(crate) const WORDS: Table<(u64, String, Position), ()> =
    Table::new(131, "search_words", Family::Index);
/// How many places of a word are read at a time.
const CHUNK: usize = 128;
/// How many places of a word are looked at for one question in one room.
const MAX_LOOKED_AT: usize = 2_000;
/// How many in all rooms together.
const MAX_LOOKED_AT_IN_ALL: usize = 20_000;
/// Different words of an event that are indexed, and of a question that are looked for.
const MAX_WORDS: usize = 256;
/// Letters of a word that count.
const MAX_LETTERS: usize = 32;
/// The length of a text, in words, for which a word in it counts once; in shorter ones it counts more.
const USUAL_LENGTH: f64 = 20.0;

/// What a question looks for in a room.
#[derive(Clone, Debug)]
pub struct Question {
    words: Vec<String>,
}

/// How far a question goes, and how much it has cost so far.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Before which position.
    pub before: Position,
    /// How many answers of each room are wanted at most.
    pub most: usize,
    /// How many places may still be looked at.
    left: usize,
}

impl Reach {
    /// Back from `before`, to `most` answers in each room.
    #[must_use]
    pub fn new(before: Position, most: usize) -> Self {
        Self {
            before,
            most,
            left: MAX_LOOKED_AT_IN_ALL,
        }
    }

    /// Whether nothing more may be looked at.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }
}

/// An event that answers a question.
#[derive(Clone, Debug)]
pub struct Match {
    /// Which.
    pub event: Arc<StoredEvent>,
    /// How well it does; more is better.
    pub rank: f64,
}

impl Question {
    /// For events that have all words of `text`; nothing if it has none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words: BTreeSet<String> = words(text).take(MAX_WORDS).collect();
        let mut words: Vec<String> = words.into_iter().collect();
        // The longest first: it is probably the rarest.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        (!words.is_empty()).then_some(Self { words })
    }

    /// The words that are looked for, in the form in which they are compared.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// How well the event answers; nothing if it does not.
    fn rank(&self, pdu: &Pdu) -> Option<f64> {
        let text = text_of(pdu)?;
        let there: Vec<String> = words(&text).collect();
        let mut rank = 0.0;
        for word in &self.words {
            let times = there.iter().filter(|other| *other == word).count();
            if times == 0 {
                return None;
            }
            let (times, length) = (float(times), float(there.len()));
            rank += times / (times + 0.3 + 0.9 * length / USUAL_LENGTH);
        }
        Some(rank)
    }
}

/// Few enough for it to be exact.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Rooms {
    /// The newest events of the room within `reach` that answer the question, are `wanted` and may be seen by `reader`,
    /// newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(
        &self,
        view: &View,
        reader: &UserId,
        (room_id, head): (&RoomId, &Head),
        question: &Question,
        reach: &mut Reach,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Vec<Match>, Error> {
        let mut found = Vec::new();
        let Some((rarest, others)) = question.words.split_first() else {
            return Ok(found);
        };
        let (most, mut end, mut looked_at) = (reach.most, reach.before, 0);
        while found.len() < most && looked_at < MAX_LOOKED_AT && !reach.is_spent() {
            let key = |position| (head.number, rarest.as_str(), position);
            let range = key(Position::ZERO)..key(end);
            let page: Vec<((u64, String, Position), ())> =
                view.scan(&WORDS, range, Direction::Backward, CHUNK).await?;
            let is_last = page.len() < CHUNK;
            looked_at += page.len();
            reach.left = reach.left.saturating_sub(page.len());
            let mut places: Vec<Position> = page.into_iter().map(|((.., at), ())| at).collect();
            end = places.last().copied().unwrap_or(end);
            for word in others {
                let keys: Vec<_> = places
                    .iter()
                    .map(|at| (head.number, word.as_str(), *at))
                    .collect();
                let there = view.get_many(&WORDS, keys).await?;
                let mut there = there.iter().map(Option::is_some);
                places.retain(|_| there.next().unwrap_or_default());
            }
            for at in places {
                let Some(event) = self.event_at(view, room_id, at).await? else {
                    continue;
                };
                if let Some(rank) = question.rank(&event.pdu)
                    && wanted(&event)
                    && self.visible(view, reader, &event).await?
                {
                    found.push(Match { event, rank });
                }
                if found.len() == most {
                    break;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn event_at(
        &self,
        view: &View,
        room_id: &RoomId,
        position: Position,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let before = Position(position.0.saturating_sub(1));
        let found = self
            .timeline(view, room_id, before, position, Direction::Backward, 1)
            .await?;
        Ok(found.into_iter().next())
    }
}

/// Puts the words of an event into the index.
pub(crate) fn index(batch: &mut Batch, room: u64, event: &StoredEvent) {
    for word in index_words(&event.pdu) {
        batch.put(&WORDS, (room, word, event.position), ());
    }
}

/// Takes the words of an event out of the index.
pub(crate) fn withdraw(batch: &mut Batch, room: u64, event: &StoredEvent) {
    for word in index_words(&event.pdu) {
        batch.delete(&WORDS, (room, word, event.position));
    }
}

fn index_words(pdu: &Pdu) -> BTreeSet<String> {
    let text = text_of(pdu);
    text.map_or_else(BTreeSet::new, |text| words(&text).take(MAX_WORDS).collect())
}

/// What can be searched in an event: the text of a message (of an edit, what is new), the name and the topic of a room.
fn text_of(pdu: &Pdu) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        body: Option<String>,
        name: Option<String>,
        topic: Option<String>,
        #[serde(rename = "m.new_content")]
        new: Option<New>,
    }
    #[derive(Deserialize)]
    struct New {
        body: Option<String>,
    }
    let pick: fn(Content) -> Option<String> = match (pdu.event_type(), pdu.state_key()) {
        ("m.room.message", None) => |content| content.new.and_then(|new| new.body).or(content.body),
        ("m.room.name", Some("")) => |content| content.name,
        ("m.room.topic", Some("")) => |content| content.topic,
        _ => return None,
    };
    pick(serde_json::from_str(pdu.content().get()).ok()?)
}

/// The words of a text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words().map(|word| {
        let letters = word.chars().flat_map(char::to_lowercase);
        letters.take(MAX_LETTERS).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_cut_by_the_rules_of_unicode() {
        let cut = |text| words(text).collect::<Vec<_>>();
        assert_eq!(cut("Hello, World!"), ["hello", "world"]);
        assert_eq!(cut("can't stop_it 3.5"), ["can't", "stop_it", "3.5"]);
        assert_eq!(cut("ÄPFEL straße"), ["äpfel", "straße"]);
        assert_eq!(cut("東京へ"), ["東", "京", "へ"]);
        assert_eq!(cut("… --- !"), [""; 0]);
        assert_eq!(cut(&"x".repeat(100)), ["x".repeat(32)]);
    }
}
