//! Owns reading many entries of a snapshot, a bounded number of nodes at a time, in the order of their places.

use hearth_store::Error as StoreError;
use ruma::OwnedEventId;

use super::{
    Nodes, Root, StateTree,
    node::{Hash, Node, OTHERS_BLOCK, block_of, is_part},
    path::{OTHERS, Path},
};

/// How many nodes are read together.
const TOGETHER: usize = 64;

/// Type, state key and event id of an entry.
type Found = (String, String, OwnedEventId);

/// Which entries of a snapshot are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those of one type.
    Of(&'a str),
    /// Those of other types than this one; cheap for `m.room.member`, however many there are.
    Except(&'a str),
}

/// A walk through a snapshot. Holds the places that are still ahead, some hundreds at most, and no entries.
pub struct Scan<'a> {
    tree: &'a StateTree,
    nodes: Nodes<'a>,
    room: u64,
    which: Which<'a>,
    path: Option<Path>,
    open: Vec<(usize, Hash)>,
}

impl StateTree {
    /// A walk through the entries of the snapshot `root`, page by page.
    pub fn walk<'a>(
        &'a self,
        nodes: impl Into<Nodes<'a>>,
        room: u64,
        root: Root,
        which: Which<'a>,
    ) -> Scan<'a> {
        let path = match which {
            Which::All => None,
            Which::Of(event_type) | Which::Except(event_type) => {
                Some(Path::of_type(room, event_type))
            }
        };
        let open = match root {
            Root::EMPTY => Vec::new(),
            Root(hash) => vec![(0, hash)],
        };
        Scan {
            tree: self,
            nodes: nodes.into(),
            room,
            which,
            path,
            open,
        }
    }

    /// The wanted entries of the snapshot `root`, all at once, in no particular order.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn scan(
        &self,
        nodes: impl Into<Nodes<'_>>,
        room: u64,
        root: Root,
        which: Which<'_>,
    ) -> Result<Vec<Found>, StoreError> {
        let mut scan = self.walk(nodes.into(), room, root, which);
        let mut found = Vec::new();
        while let Some(page) = scan.next_page().await? {
            found.extend(page);
        }
        Ok(found)
    }
}

impl Scan<'_> {
    /// The next entries, which may be none; nothing after the last. A page is what 64 nodes hold at most.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Found>>, StoreError> {
        if self.open.is_empty() {
            return Ok(None);
        }
        // The last ones are the next ones: the list is as long as a path has forks, times what is read together.
        let next = self
            .open
            .split_off(self.open.len().saturating_sub(TOGETHER));
        let hashes: Vec<_> = next.iter().map(|(_, hash)| *hash).collect();
        let loaded = self.tree.load_many(self.nodes, self.room, &hashes).await?;
        let mut found = Vec::new();
        for ((depth, _), node) in next.into_iter().zip(loaded) {
            match &*node {
                Node::Fork(fork) => {
                    for (block, hash) in fork.children() {
                        if self.leads_on(depth, block) {
                            self.open.push((depth + 1, hash));
                        }
                    }
                }
                Node::Bucket(bucket) => {
                    for entry in bucket
                        .entries()
                        .filter(|entry| self.wants(entry.event_type))
                    {
                        found.push(entry.to_owned()?.into_tuple());
                    }
                }
            }
        }
        Ok(Some(found))
    }

    fn wants(&self, found: &str) -> bool {
        match self.which {
            Which::All => true,
            Which::Of(wanted) => found == wanted,
            Which::Except(unwanted) => found != unwanted,
        }
    }

    /// Whether there may be wanted entries under a block of a node at `depth` that is on the way.
    fn leads_on(&self, depth: usize, block: u8) -> bool {
        let Some(path) = &self.path else {
            return true;
        };
        let is_shared = |digit| path.shares_type(depth, digit) && is_part(block_of(digit), block);
        match self.which {
            Which::All => true,
            Which::Of(_) => (0..=OTHERS).any(is_shared),
            // Other types share their digits.
            Which::Except(_) => !(path.is_of_members() && depth == 0 && block != OTHERS_BLOCK),
        }
    }
}
