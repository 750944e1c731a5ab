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
        let path = event_type.map(|event_type| Path::of(event_type, ""));
        let is_inside = |depth: usize, digit: u8| {
            let path = path.as_ref();
            path.is_none_or(|path| depth >= path.type_digits || path.digit(depth) == digit)
        };
        let is_wanted = |found: &str| event_type.is_none_or(|wanted| found == wanted);
        self.walk(nodes.into(), room, root, is_inside, is_wanted)
            .await
    }

    /// The entries of the snapshot `root` but those of one type, as [`StateTree::scan`]. Does not look at memberships if it
    /// is those that are left out.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn scan_except(
        &self,
        nodes: impl Into<Nodes<'_>>,
        room: u64,
        root: Root,
        event_type: &str,
    ) -> Result<Vec<(String, String, OwnedEventId)>, StoreError> {
        let path = Path::of(event_type, "");
        // Other types share their first digit.
        let has_own_digit = path.type_digits == 1;
        let is_inside =
            |depth: usize, digit: u8| !(has_own_digit && depth == 0 && path.digit(0) == digit);
        self.walk(nodes.into(), room, root, is_inside, |found| {
            found != event_type
        })
        .await
    }

    async fn walk(
        &self,
        nodes: Nodes<'_>,
        room: u64,
        root: Root,
        is_inside: impl Fn(usize, u8) -> bool,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, String, OwnedEventId)>, StoreError> {
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
                    match child {
                        _ if !is_inside(depth, digit) => {}
                        Child::Node(hash) => open.push((depth + 1, *hash)),
                        Child::Entry(entry) => {
                            if is_wanted(&entry.event_type) {
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
