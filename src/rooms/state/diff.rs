//! Owns the difference of two snapshots, in time proportional to it: what both share is never read.

use std::{collections::BTreeMap, sync::Arc};

use hearth_store::Error as StoreError;
use ruma::OwnedEventId;

use super::{
    Nodes, Root, StateTree,
    node::{Child, Entry, Hash, Node},
};

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

/// What hangs at the same place of one of the two trees.
#[derive(Clone)]
enum Side {
    Nothing,
    Entry(Entry),
    Hash(Hash),
    /// A node of which some skipped digits are already behind us.
    Node(Arc<Node>, usize),
}

impl From<Option<&Child>> for Side {
    fn from(child: Option<&Child>) -> Self {
        match child {
            None => Self::Nothing,
            Some(Child::Entry(entry)) => Self::Entry(entry.clone()),
            Some(Child::Node(hash)) => Self::Hash(*hash),
        }
    }
}

type Changes = BTreeMap<(String, String), (Option<OwnedEventId>, Option<OwnedEventId>)>;

impl StateTree {
    /// What differs in the snapshot `new` from the snapshot `old`, sorted by type and state key.
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
        let nodes = nodes.into();
        let side = |root: Root| {
            if root == Root::EMPTY {
                Side::Nothing
            } else {
                Side::Hash(root.0)
            }
        };
        let mut open = vec![(side(old), side(new))];
        let mut changes = Changes::new();
        while let Some(pair) = open.pop() {
            let pair = match pair {
                (Side::Hash(a), Side::Hash(b)) if a == b => continue,
                (Side::Hash(a), Side::Hash(b)) => {
                    let both = self.load_many(nodes, room, &[a, b]).await?;
                    let [a, b] = &both[..] else { continue };
                    (Side::Node(a.clone(), 0), Side::Node(b.clone(), 0))
                }
                (a, b) => (
                    self.open(nodes, room, a).await?,
                    self.open(nodes, room, b).await?,
                ),
            };
            step(pair, &mut open, &mut changes);
        }
        let changes = changes.into_iter().filter(|(_, (old, new))| old != new);
        Ok(changes
            .map(|((event_type, state_key), (old, new))| Change {
                event_type,
                state_key,
                old,
                new,
            })
            .collect())
    }

    async fn open(&self, nodes: Nodes<'_>, room: u64, side: Side) -> Result<Side, StoreError> {
        match side {
            Side::Hash(hash) => Ok(Side::Node(self.load(nodes, room, hash).await?, 0)),
            other => Ok(other),
        }
    }
}

/// Compares two opened sides: notes entries, and puts what is below on the list.
fn step(pair: (Side, Side), open: &mut Vec<(Side, Side)>, changes: &mut Changes) {
    let (a, b) = match pair {
        (Side::Node(a, i), Side::Node(b, j)) => return fork(&a, i, &b, j, open),
        other => other,
    };
    for (side, is_new) in [(a, false), (b, true)] {
        match side {
            Side::Entry(entry) => {
                let (event_type, state_key, event_id) = entry.to_tuple();
                let change = changes.entry((event_type, state_key)).or_default();
                if is_new {
                    change.1 = Some(event_id);
                } else {
                    change.0 = Some(event_id);
                }
            }
            Side::Node(node, _) => {
                for (_, child) in node.children() {
                    open.push(alone(Some(child).into(), is_new));
                }
            }
            Side::Nothing | Side::Hash(_) => {}
        }
    }
}

fn alone(side: Side, is_new: bool) -> (Side, Side) {
    if is_new {
        (Side::Nothing, side)
    } else {
        (side, Side::Nothing)
    }
}

/// Two nodes at the same place, of whose skipped digits `i` and `j` are behind us.
fn fork(a: &Arc<Node>, i: usize, b: &Arc<Node>, j: usize, open: &mut Vec<(Side, Side)>) {
    let (left, right) = (&a.skipped[i..], &b.skipped[j..]);
    let shared = left.iter().zip(right).take_while(|(x, y)| x == y).count();
    let a_forks = shared == left.len();
    let b_forks = shared == right.len();
    if !a_forks && !b_forks {
        // They lie apart: everything of both differs.
        open.push((Side::Node(a.clone(), i), Side::Nothing));
        open.push((Side::Nothing, Side::Node(b.clone(), j)));
        return;
    }
    for digit in 0..8 {
        let of = |node: &Arc<Node>, forks: bool, skipped: &[u8], behind: usize| -> Side {
            if forks {
                node.child(digit).into()
            } else if skipped[shared] == digit {
                Side::Node(node.clone(), behind + shared + 1)
            } else {
                Side::Nothing
            }
        };
        open.push((of(a, a_forks, left, i), of(b, b_forks, right, j)));
    }
}
