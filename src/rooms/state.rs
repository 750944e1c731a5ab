//! The state of rooms as a persistent tree over (type, state key), with content-addressed nodes: a snapshot is a
//! [`Root`], neighbours share all but a path. See `docs/decisions/0003-state-tree.md`.
//!
//! The place of an entry is a keyed hash, read three bits at a time; memberships lie apart from all else, and of that each
//! type. What fits into one bucket at the end of a path is one. The same entries give the same root, in whatever order they
//! came. Must never change a node: new ones are written beside the old.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hearth_store::{Error as StoreError, Family, Part, ReadPart, Reader, Table, View, Writer};
use quick_cache::{Weighter, sync::Cache};
use ruma::OwnedEventId;

mod diff;
mod edit;
mod entry;
mod node;
mod overlay;
mod path;
mod scan;
#[cfg(test)]
mod tests;

pub use diff::{Change, Differences};
pub use overlay::Overlay;
pub use scan::{Scan, Which};

use edit::{Edit, Update};
use node::{Hash, Node};
use path::Path;

/// (room number, node hash) to the node's bytes.
pub(crate) const NODES: Table<(u64, Hash), NodeBytes> =
    Table::new(80, "state_nodes", Family::Immutable);

/// About how many bytes the average node takes in memory, to size the cache's tables.
const USUAL_NODE: usize = 256;

/// A snapshot of a room's state: the hash of the topmost node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root(pub [u8; 12]);

impl Root {
    /// The state of a room before its first event.
    pub const EMPTY: Self = Self([0; 12]);
}

impl Part for Root {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
}

impl ReadPart for Root {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        ReadPart::read(r).map(Self)
    }
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
    cache: Cache<(u64, Hash), Arc<Node>, Memory>,
    loads: AtomicU64,
}

/// Weighs a cached node by the memory that it takes.
#[derive(Clone, Debug)]
struct Memory;

impl Weighter<(u64, Hash), Arc<Node>> for Memory {
    fn weight(&self, key: &(u64, Hash), node: &Arc<Node>) -> u64 {
        // The cache's own links and the counts of the reference are some ten words more.
        (size_of_val(key) + 80 + node.memory()) as u64
    }
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
    /// A reader that keeps nodes of up to `bytes` bytes together in memory.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            cache: Cache::with_weighter(bytes / USUAL_NODE, bytes as u64, Memory),
            loads: AtomicU64::new(0),
        }
    }

    /// How many bytes of memory the nodes that are kept take.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.cache.weight()
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
        let path = Path::of(room, event_type, state_key);
        let nodes = nodes.into();
        let mut next = (root != Root::EMPTY).then_some(root.0);
        let mut depth = 0;
        while let Some(hash) = next {
            match &*self.load(nodes, room, hash).await? {
                Node::Fork(fork) => {
                    next = fork.under(path.digit(depth)).map(|(_, hash)| hash);
                    depth += 1;
                }
                Node::Bucket(bucket) => {
                    let mut entries = bucket.entries();
                    let entry =
                        entries.find(|e| (e.event_type, e.state_key) == (event_type, state_key));
                    return entry.map(|entry| entry.event_id()).transpose();
                }
            }
        }
        Ok(None)
    }

    /// The snapshot that follows from `root` by `updates`, of which a later one wins. Its new nodes are put into `overlay`.
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
        let updates: Vec<_> = updates
            .iter()
            .map(|(event_type, state_key, event_id)| Update {
                path: Path::of(room, event_type, state_key),
                event_type: event_type.as_str().into(),
                state_key: state_key.as_str().into(),
                event_id: event_id.clone(),
            })
            .collect();
        // Each round reads the next nodes of all paths at once: as many rounds as a path has nodes, and a few when blocks join.
        let mut known: HashMap<Hash, Arc<Node>> = HashMap::new();
        loop {
            let mut edit = Edit::new(room, &known);
            let new = edit.root(root, updates.clone())?;
            let Edit { missing, made, .. } = edit;
            if missing.is_empty() {
                for (hash, node, bytes) in made {
                    overlay.add(room, hash, node, bytes);
                }
                return Ok(new);
            }
            let nodes = Nodes::from((view, &*overlay));
            let read = self.load_many(nodes, room, &missing).await?;
            known.extend(missing.into_iter().zip(read));
        }
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
                "the state node {} is missing",
                hex(&hash)
            )));
        };
        if node::hash(room, &bytes) != hash {
            return Err(StoreError::Corrupt(format!(
                "the state node {} was altered",
                hex(&hash)
            )));
        }
        let node = Arc::new(Node::decode(&bytes)?);
        self.cache.insert((room, hash), node.clone());
        Ok(node)
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
