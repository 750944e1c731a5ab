//! Owns the difference of two snapshots, in time proportional to it: what both share is never read.

use std::{collections::BTreeMap, sync::Arc};

use hearth_store::Error as StoreError;
use ruma::OwnedEventId;

use super::{
    Nodes, Root, StateTree,
    entry::Entry,
    node::{Bucket, Fork, Hash, Node, OTHERS_BLOCK, WHOLE},
    path::Path,
};

/// How many pairs of places are compared together.
const TOGETHER: usize = 32;

/// An entry that differs between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The event in the one snapshot.
    pub old: Option<OwnedEventId>,
    /// The event in the other.
    pub new: Option<OwnedEventId>,
}

/// What is at the same place of one of the two trees.
#[derive(Clone, Debug)]
enum Side {
    Nothing,
    Stored(Hash),
    /// Entries of a larger bucket, or blocks of a larger node.
    Part(Arc<Node>),
}

impl From<Option<Hash>> for Side {
    fn from(hash: Option<Hash>) -> Self {
        hash.map_or(Self::Nothing, Self::Stored)
    }
}

impl From<Vec<Entry>> for Side {
    fn from(entries: Vec<Entry>) -> Self {
        match entries.is_empty() {
            true => Self::Nothing,
            false => Self::Part(Arc::new(Node::Bucket(Bucket::of(entries)))),
        }
    }
}

/// A walk through what differs between two snapshots. Holds the places that are still ahead, and no entries but those of
/// some buckets.
pub struct Differences<'a> {
    tree: &'a StateTree,
    nodes: Nodes<'a>,
    room: u64,
    open: Vec<(usize, [Side; 2])>,
}

impl StateTree {
    /// A walk through what differs in the snapshot `new` from the snapshot `old`, page by page.
    pub fn compare<'a>(
        &'a self,
        nodes: impl Into<Nodes<'a>>,
        room: u64,
        old: Root,
        new: Root,
    ) -> Differences<'a> {
        let side = |root: Root| Side::from((root != Root::EMPTY).then_some(root.0));
        let open = match old == new {
            true => Vec::new(),
            false => vec![(0, [side(old), side(new)])],
        };
        Differences {
            tree: self,
            nodes: nodes.into(),
            room,
            open,
        }
    }

    /// What differs in the snapshot `new` from the snapshot `old`, sorted by type and state key, all at once.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn diff(
        &self,
        nodes: impl Into<Nodes<'_>>,
        room: u64,
        old: Root,
        new: Root,
    ) -> Result<Vec<Change>, StoreError> {
        let mut differences = self.compare(nodes.into(), room, old, new);
        let mut changes = Vec::new();
        while let Some(page) = differences.next_page().await? {
            changes.extend(page);
        }
        changes.sort_unstable();
        Ok(changes)
    }
}

impl Differences<'_> {
    /// The next changes, which may be none; nothing after the last. Each entry comes once.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Change>>, StoreError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let next = self
            .open
            .split_off(self.open.len().saturating_sub(TOGETHER));
        let stored = |side: &Side| match side {
            Side::Stored(hash) => Some(*hash),
            Side::Nothing | Side::Part(_) => None,
        };
        let hashes: Vec<Hash> = next
            .iter()
            .flat_map(|(_, sides)| sides)
            .filter_map(stored)
            .collect();
        let loaded = self.tree.load_many(self.nodes, self.room, &hashes).await?;
        let mut loaded = loaded.into_iter();
        let mut changes = Vec::new();
        for (depth, sides) in next {
            let [old, new] = sides.map(|side| match side {
                Side::Nothing => None,
                Side::Stored(_) => loaded.next(),
                Side::Part(node) => Some(node),
            });
            self.step(depth, old, new, &mut changes)?;
        }
        Ok(Some(changes))
    }

    /// Compares two places: notes what differs, and puts what is below on the list.
    fn step(
        &mut self,
        depth: usize,
        old: Option<Arc<Node>>,
        new: Option<Arc<Node>>,
        changes: &mut Vec<Change>,
    ) -> Result<(), StoreError> {
        let forks = [&old, &new].map(|node| node.as_deref().and_then(Node::as_fork));
        let entries = |node: &Option<Arc<Node>>| match node.as_deref() {
            Some(Node::Bucket(bucket)) => bucket.to_entries(),
            _ => Ok(Vec::new()),
        };
        match forks {
            [Some(old), Some(new)] => self.blocks(depth, [old, new]),
            [Some(fork), None] => {
                let rest = self.scatter(depth, fork, entries(&new)?, |old, new| [old, new]);
                compare(Vec::new(), rest, changes);
            }
            [None, Some(fork)] => {
                let rest = self.scatter(depth, fork, entries(&old)?, |new, old| [old, new]);
                compare(rest, Vec::new(), changes);
            }
            [None, None] => compare(entries(&old)?, entries(&new)?, changes),
        }
        Ok(())
    }

    /// Puts the blocks of two forks side by side.
    fn blocks(&mut self, depth: usize, forks: [&Fork; 2]) {
        let mut blocks = vec![OTHERS_BLOCK, WHOLE];
        while let Some(block) = blocks.pop() {
            let children = forks.map(|fork| fork.child(block));
            match children {
                [Some(a), Some(b)] if a == b => {}
                [None, None] if (WHOLE..8).contains(&block) => {
                    blocks.extend([2 * block, 2 * block + 1]);
                }
                [None, None] => {}
                [Some(_), Some(_)] => self.open.push((depth + 1, children.map(Side::from))),
                [one, other] => {
                    // A bucket on the one side may be split on the other.
                    let (fork, is_old_split) = match one {
                        None => (forks[0], true),
                        Some(_) => (forks[1], false),
                    };
                    if !fork.has_parts_of(block) {
                        self.open.push((depth + 1, [one.into(), other.into()]));
                        continue;
                    }
                    let parts = Side::Part(Arc::new(Node::Fork(fork.parts_of(block))));
                    let whole = Side::from(one.or(other));
                    let sides = match is_old_split {
                        true => [parts, whole],
                        false => [whole, parts],
                    };
                    self.open.push((depth, sides));
                }
            }
        }
    }

    /// Puts each block of a fork on the list, beside those of `entries` that lie there. Returns the other entries.
    fn scatter(
        &mut self,
        depth: usize,
        fork: &Fork,
        entries: Vec<Entry>,
        pair: impl Fn(Side, Side) -> [Side; 2],
    ) -> Vec<Entry> {
        let mut under: BTreeMap<u8, Vec<Entry>> = BTreeMap::new();
        let mut rest = Vec::new();
        for entry in entries {
            let path = Path::of(self.room, &entry.event_type, &entry.state_key);
            match fork.under(path.digit(depth)) {
                Some((block, _)) => under.entry(block).or_default().push(entry),
                None => rest.push(entry),
            }
        }
        for (block, hash) in fork.children() {
            let beside = under.remove(&block).unwrap_or_default();
            self.open
                .push((depth + 1, pair(Side::Stored(hash), beside.into())));
        }
        rest
    }
}

/// Notes what differs between two lists of entries.
fn compare(old: Vec<Entry>, new: Vec<Entry>, changes: &mut Vec<Change>) {
    let mut pairs: BTreeMap<_, [Option<OwnedEventId>; 2]> = BTreeMap::new();
    for (side, entries) in [old, new].into_iter().enumerate() {
        for entry in entries {
            let (event_type, state_key, event_id) = entry.into_tuple();
            pairs.entry((event_type, state_key)).or_default()[side] = Some(event_id);
        }
    }
    let differing = pairs.into_iter().filter(|(_, [old, new])| old != new);
    changes.extend(
        differing.map(|((event_type, state_key), [old, new])| Change {
            event_type,
            state_key,
            old,
            new,
        }),
    );
}
