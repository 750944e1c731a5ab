//! Owns what this node has heard of lately: for each topic, when a hint last named it. A reader who found nothing can so say
//! again that there is nothing, without reading. Must never vouch for what it may have forgotten.
//!
//! A hint of this node is in here before its commit is answered; one of another node once it is heard, as late as the hint.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use parking_lot::RwLock;

use super::Topic;

/// How many topics are remembered; past it all are forgotten, and every reader reads once more.
const REMEMBERED: usize = 200_000;

/// A moment of this node, for [`Moved::is_still`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A topic in eight bytes. Two topics may share a name: then the one seems to move with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(u64);

/// When topics last moved.
#[derive(Default)]
pub struct Moved {
    names: RandomState,
    last: RwLock<Last>,
}

#[derive(Default)]
struct Last {
    /// Counts the hints.
    now: u64,
    /// Of what was before is nothing known.
    forgotten: u64,
    at: HashMap<TopicName, u64>,
}

impl Moved {
    /// The moment from which a reader is up to date: to be taken before the view is opened.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.last.read().now)
    }

    /// The short name of the topic of `kind` and `id`.
    #[must_use]
    pub fn name(&self, kind: char, id: &str) -> TopicName {
        TopicName(self.names.hash_one((kind, id)))
    }

    /// Takes in that these topics move now.
    pub fn note(&self, topics: &[Topic]) {
        let names = topics.iter().filter_map(Topic::parts);
        let names: Vec<_> = names.map(|(kind, id)| self.name(kind, id)).collect();
        let mut last = self.last.write();
        last.now += 1;
        let now = last.now;
        if last.at.len() + names.len() > REMEMBERED {
            last.at.clear();
            last.forgotten = now;
        }
        last.at.extend(names.into_iter().map(|name| (name, now)));
    }

    /// From now on everything counts as moved: hints may have been missed.
    pub fn forget(&self) {
        let mut last = self.last.write();
        last.now += 1;
        last.forgotten = last.now;
        last.at.clear();
    }

    /// Whether none of the topics has moved since.
    #[must_use]
    pub fn is_still(&self, since: Moment, topics: &[TopicName]) -> bool {
        let last = self.last.read();
        if since.0 == last.now {
            return true;
        }
        let is_still = |topic| last.at.get(topic).is_none_or(|at| *at <= since.0);
        since.0 >= last.forgotten && topics.iter().all(is_still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(ids: &[&str]) -> Vec<Topic> {
        ids.iter().map(|id| Topic::new('r', id)).collect()
    }

    #[test]
    fn a_topic_is_still_until_a_hint_names_it() {
        let moved = Moved::default();
        let (a, b) = (moved.name('r', "a"), moved.name('r', "b"));
        let start = moved.now();
        assert!(moved.is_still(start, &[a, b]));
        moved.note(&topics(&["a"]));
        assert!(!moved.is_still(start, &[a, b]));
        assert!(moved.is_still(start, &[b, moved.name('u', "a")]));
        assert!(moved.is_still(moved.now(), &[a, b]));
    }

    #[test]
    fn what_was_forgotten_counts_as_moved() {
        let moved = Moved::default();
        let quiet = moved.name('r', "quiet");
        moved.note(&topics(&["first"]));
        let before = moved.now();
        for n in 0..=REMEMBERED {
            moved.note(&[Topic::new('r', &n.to_string())]);
        }
        assert!(!moved.is_still(before, &[quiet]));
        assert!(moved.is_still(moved.now(), &[quiet]));
        assert!(moved.last.read().at.len() <= REMEMBERED);
    }
}
