//! Owns reading many entries of a snapshot, a bounded number of nodes at a time.

use hearth_store::Error as StoreError;
use ruma::OwnedEventId;

use super::{
    Nodes, Root, StateTree,
    node::{Child, Hash, Path},
};

/// How many nodes are read together.
const TOGETHER: usize = 64;

impl StateTree {
    /// The entries of the snapshot `root`, or only those of one type, as (type, state key, event id) in no particular
    /// order.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn scan(
        &self,
        nodes: impl Into<Nodes<'_>>,
        room: u64,
        root: Root,
        event_type: Option<&str>,
    ) -> Result<Vec<(String, String, OwnedEventId)>, StoreError> {
        let nodes = nodes.into();
        let wanted = event_type.map(|event_type| Path::of(event_type, ""));
        let mut found = Vec::new();
        let mut open: Vec<(usize, Hash)> = match root {
            Root::EMPTY => Vec::new(),
            Root(hash) => vec![(0, hash)],
        };
        while !open.is_empty() {
            let next = open.split_off(open.len().saturating_sub(TOGETHER));
            let hashes: Vec<_> = next.iter().map(|(_, hash)| *hash).collect();
            let loaded = self.load_many(nodes, room, &hashes).await?;
            for ((start, _), node) in next.into_iter().zip(loaded) {
                let depth = start + node.skipped.len();
                for (digit, child) in node.children() {
                    let outside = wanted
                        .as_ref()
                        .is_some_and(|path| depth < path.type_digits && path.digit(depth) != digit);
                    match child {
                        _ if outside => {}
                        Child::Node(hash) => open.push((depth + 1, *hash)),
                        Child::Entry(entry) => {
                            if event_type.is_none_or(|wanted| *entry.event_type == *wanted) {
                                found.push(entry.to_tuple());
                            }
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}
