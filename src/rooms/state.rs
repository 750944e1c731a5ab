//! The state of rooms as a persistent tree over (type, state key), with content-addressed nodes: a snapshot is a
//! [`Root`], neighbours share all but a path. See `docs/decisions/0003-state-tree.md`.
//!
//! The place of an entry is a hash, read three bits at a time: digits of its type, so that the entries of one type lie
//! under one node, then digits of type and state key. Nodes without a fork are left out. The same entries give the
//! same root, in whatever order they came. Must never change a node: new ones are written beside the old.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hearth_store::{Error as StoreError, Family, Part, ReadPart, Reader, Table, View, Writer};
use quick_cache::sync::Cache;
use ruma::OwnedEventId;

mod collector;
mod diff;
mod node;
mod overlay;
mod scan;
#[cfg(test)]
mod tests;

pub use collector::Collected;
pub use diff::Change;
pub use overlay::Overlay;

use node::{Child, Entry, Hash, Node, Path};

/// (room number, node hash) to the node's bytes.
pub(crate) const NODES: Table<(u64, Hash), NodeBytes> =
    Table::new(80, "state_nodes", Family::Immutable);

/// How deep a tree can be: the digits of a path.
const MAX_DEPTH: usize = node::DIGITS;

/// A snapshot of a room's state: the hash of the topmost node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root(pub [u8; 12]);

impl Root {
    /// The state of a room before its first event.
    pub const EMPTY: Self = Self([0; 12]);
}

/// The bytes of a node as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeBytes(pub(crate) Vec<u8>);

impl Part for NodeBytes {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
}

impl ReadPart for NodeBytes {
    fn read(r: &mut Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self(r.rest().to_vec()))
    }
}

/// Reads and plans trees. Holds a bounded cache of decoded nodes, which never go stale.
#[derive(Debug)]
pub struct StateTree {
    cache: Cache<(u64, Hash), Arc<Node>>,
    loads: AtomicU64,
}

/// From where nodes come: those planned but not committed first, then the cache, then the view.
#[derive(Clone, Copy)]
pub struct Nodes<'a> {
    view: &'a View,
    overlay: Option<&'a Overlay>,
}

impl<'a> From<&'a View> for Nodes<'a> {
    fn from(view: &'a View) -> Self {
        Self {
            view,
            overlay: None,
        }
    }
}

impl<'a> From<(&'a View, &'a Overlay)> for Nodes<'a> {
    fn from((view, overlay): (&'a View, &'a Overlay)) -> Self {
        Self {
            view,
            overlay: Some(overlay),
        }
    }
}

impl StateTree {
    /// A reader that keeps up to `nodes` nodes (about half a kilobyte each) in memory.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            cache: Cache::new(nodes),
            loads: AtomicU64::new(0),
        }
    }

    /// How many nodes were looked at so far, in memory or not.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// The event that sets (`event_type`, `state_key`) in the snapshot `root` of room number `room`.
    ///
    /// # Errors
    /// `Corrupt` if a node is missing or malformed, `Unavailable` if the store is.
    pub async fn get(
        &self,
        nodes: impl Into<Nodes<'_>>,
        room: u64,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<OwnedEventId>, StoreError> {
        let path = Path::of(event_type, state_key);
        let nodes = nodes.into();
        let mut depth = 0;
        let mut next = (root != Root::EMPTY).then_some(root.0);
        while let Some(hash) = next {
            let node = self.load(nodes, room, hash).await?;
            depth += node.skipped.len();
            next = match node.child(path.digit(depth)) {
                Some(Child::Entry(entry)) if entry.is(event_type, state_key) => {
                    return Ok(Some(entry.event_id.clone()));
                }
                Some(Child::Node(hash)) => Some(*hash),
                Some(Child::Entry(_)) | None => None,
            };
            depth += 1;
        }
        Ok(None)
    }

    /// The snapshot that follows from `root` by `updates`, in order. Its new nodes are put into `overlay`.
    ///
    /// # Errors
    /// As [`StateTree::get`].
    pub async fn update(
        &self,
        view: &View,
        overlay: &mut Overlay,
        room: u64,
        root: Root,
        updates: &[(String, String, Option<OwnedEventId>)],
    ) -> Result<Root, StoreError> {
        let mut root = root;
        for (event_type, state_key, event_id) in updates {
            root = match event_id {
                Some(event_id) => {
                    let entry = Entry {
                        event_type: event_type.as_str().into(),
                        state_key: state_key.as_str().into(),
                        event_id: event_id.clone(),
                    };
                    self.insert(view, overlay, room, root, entry).await?
                }
                None => {
                    self.remove(view, overlay, room, root, (event_type, state_key))
                        .await?
                }
            };
        }
        Ok(root)
    }

    async fn insert(
        &self,
        view: &View,
        overlay: &mut Overlay,
        room: u64,
        root: Root,
        entry: Entry,
    ) -> Result<Root, StoreError> {
        let path = Path::of(&entry.event_type, &entry.state_key);
        let (mut steps, depth) = self
            .descend((view, &*overlay).into(), room, root, &path)
            .await?;
        let Some((last, digit)) = steps.pop() else {
            let node = Node::of(Vec::new(), [(path.digit(0), Child::Entry(entry))]);
            return Ok(Root(overlay.add(room, node)));
        };
        let start = depth - last.skipped.len();
        let shared = last.shared(&path, start);
        let node = if shared < last.skipped.len() {
            last.split(
                shared,
                path.digit(start + shared),
                Child::Entry(entry),
                |lower| overlay.add(room, lower),
            )
        } else {
            let child = match last.child(digit) {
                Some(Child::Entry(old)) if !old.is(&entry.event_type, &entry.state_key) => {
                    if last.only().is_some() {
                        // The root of a single entry forks no more than before: the fork takes its place.
                        return Ok(Root(overlay.add(room, fork(old, entry, 0)?)));
                    }
                    Child::Node(overlay.add(room, fork(old, entry, depth + 1)?))
                }
                _ => Child::Entry(entry),
            };
            last.with(digit, Some(child))
        };
        Ok(rise(overlay, room, steps, node))
    }

    async fn remove(
        &self,
        view: &View,
        overlay: &mut Overlay,
        room: u64,
        root: Root,
        (event_type, state_key): (&str, &str),
    ) -> Result<Root, StoreError> {
        let path = Path::of(event_type, state_key);
        let (mut steps, _) = self
            .descend((view, &*overlay).into(), room, root, &path)
            .await?;
        let Some((last, digit)) = steps.pop() else {
            return Ok(root);
        };
        match last.child(digit) {
            Some(Child::Entry(entry)) if entry.is(event_type, state_key) => {}
            _ => return Ok(root),
        }
        let node = last.with(digit, None);
        let Some((digit, child)) = node.only() else {
            if node.is_empty() {
                return Ok(Root::EMPTY);
            }
            return Ok(rise(overlay, room, steps, node));
        };
        // A node that forks no more gives its place to its only child.
        match (child, steps.pop()) {
            (Child::Entry(_), Some((parent, at))) => {
                let child = child.clone();
                Ok(rise(overlay, room, steps, parent.with(at, Some(child))))
            }
            (Child::Entry(entry), None) => {
                let path = Path::of(&entry.event_type, &entry.state_key);
                let node = Node::of(Vec::new(), [(path.digit(0), child.clone())]);
                Ok(Root(overlay.add(room, node)))
            }
            (Child::Node(hash), parent) => {
                let lower = self.load((view, &*overlay).into(), room, *hash).await?;
                let mut skipped = node.skipped.clone();
                skipped.push(digit);
                skipped.extend_from_slice(&lower.skipped);
                steps.extend(parent);
                Ok(rise(overlay, room, steps, lower.skipping(skipped)))
            }
        }
    }

    /// The nodes from the root towards `path`, each with the digit taken, and the depth of the last one's fork. Ends
    /// at a node that has no node under that digit, or whose skipped digits differ from the path.
    async fn descend(
        &self,
        nodes: Nodes<'_>,
        room: u64,
        root: Root,
        path: &Path,
    ) -> Result<(Vec<(Arc<Node>, u8)>, usize), StoreError> {
        let mut steps = Vec::with_capacity(8);
        let mut depth = 0;
        let mut next = (root != Root::EMPTY).then_some(root.0);
        while let Some(hash) = next {
            let node = self.load(nodes, room, hash).await?;
            let agrees = node.shared(path, depth) == node.skipped.len();
            depth += node.skipped.len();
            if depth >= MAX_DEPTH {
                return Err(StoreError::Corrupt(
                    "a state tree is deeper than its paths".into(),
                ));
            }
            let digit = path.digit(depth);
            next = match node.child(digit) {
                Some(Child::Node(hash)) if agrees => Some(*hash),
                _ => None,
            };
            steps.push((node, digit));
            if next.is_some() {
                depth += 1;
            }
        }
        Ok((steps, depth))
    }

    async fn load(&self, nodes: Nodes<'_>, room: u64, hash: Hash) -> Result<Arc<Node>, StoreError> {
        if let Some(node) = self.in_memory(nodes, room, hash) {
            return Ok(node);
        }
        let bytes = nodes.view.get(&NODES, (room, hash)).await?;
        self.decoded(room, hash, bytes)
    }

    /// The nodes of `hashes`, in their order, read together.
    async fn load_many(
        &self,
        nodes: Nodes<'_>,
        room: u64,
        hashes: &[Hash],
    ) -> Result<Vec<Arc<Node>>, StoreError> {
        let mut found: Vec<_> = hashes
            .iter()
            .map(|hash| self.in_memory(nodes, room, *hash))
            .collect();
        let missing: Vec<_> = (0..hashes.len())
            .filter(|at| found[*at].is_none())
            .collect();
        if !missing.is_empty() {
            let keys = missing.iter().map(|at| (room, hashes[*at]));
            let read = nodes.view.get_many(&NODES, keys).await?;
            for (at, bytes) in missing.into_iter().zip(read) {
                found[at] = Some(self.decoded(room, hashes[at], bytes)?);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn in_memory(&self, nodes: Nodes<'_>, room: u64, hash: Hash) -> Option<Arc<Node>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let planned = nodes.overlay.and_then(|overlay| overlay.get(room, hash));
        planned.or_else(|| self.cache.get(&(room, hash)))
    }

    fn decoded(
        &self,
        room: u64,
        hash: Hash,
        bytes: Option<NodeBytes>,
    ) -> Result<Arc<Node>, StoreError> {
        let Some(NodeBytes(bytes)) = bytes else {
            return Err(StoreError::Corrupt(format!(
                "a state node of room {room} is missing"
            )));
        };
        if node::hash(room, &bytes) != hash {
            return Err(StoreError::Corrupt(format!(
                "a state node of room {room} was altered"
            )));
        }
        let node = Arc::new(Node::decode(&bytes)?);
        self.cache.insert((room, hash), node.clone());
        Ok(node)
    }
}

/// The smallest node that keeps two entries apart whose paths agree up to `depth`.
fn fork(old: &Entry, new: Entry, depth: usize) -> Result<Node, StoreError> {
    let (a, b) = (
        Path::of(&old.event_type, &old.state_key),
        Path::of(&new.event_type, &new.state_key),
    );
    let mut at = depth;
    while at < MAX_DEPTH && a.digit(at) == b.digit(at) {
        at += 1;
    }
    if at == MAX_DEPTH {
        // 128 bits of SHA-256 collide: nobody has seen that yet.
        return Err(StoreError::Corrupt(
            "two state keys have the same hash".into(),
        ));
    }
    let skipped = (depth..at).map(|i| a.digit(i)).collect();
    Ok(Node::of(
        skipped,
        [
            (a.digit(at), Child::Entry(old.clone())),
            (b.digit(at), Child::Entry(new)),
        ],
    ))
}

/// Puts `node` and the changed nodes above it into the overlay; returns the new root.
fn rise(overlay: &mut Overlay, room: u64, steps: Vec<(Arc<Node>, u8)>, node: Node) -> Root {
    let mut hash = overlay.add(room, node);
    for (parent, digit) in steps.into_iter().rev() {
        hash = overlay.add(room, parent.with(digit, Some(Child::Node(hash))));
    }
    Root(hash)
}
