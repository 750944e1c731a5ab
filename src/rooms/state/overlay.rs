//! Owns the nodes that are planned but not committed. Later steps of a plan read them as if they were stored.

use std::{collections::HashMap, sync::Arc};

use hearth_store::Batch;

use super::{
    NODES, NodeBytes, Root,
    node::{Hash, Node},
};

/// New nodes of one plan.
#[derive(Clone, Debug, Default)]
pub struct Overlay(HashMap<(u64, Hash), (Arc<Node>, Vec<u8>)>);

impl Overlay {
    /// An overlay without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, room: u64, hash: Hash, node: Node, bytes: Vec<u8>) {
        self.0
            .entry((room, hash))
            .or_insert_with(|| (Arc::new(node), bytes));
    }

    pub(super) fn get(&self, room: u64, hash: Hash) -> Option<Arc<Node>> {
        self.0.get(&(room, hash)).map(|(node, _)| node.clone())
    }

    /// Whether the snapshot is new here, and so may never be stored.
    #[must_use]
    pub fn holds(&self, room: u64, root: Root) -> bool {
        self.0.contains_key(&(room, root.0))
    }

    /// Takes over the nodes of the snapshots `roots` that are new in `other`.
    pub fn take_over(&mut self, other: &Self, room: u64, roots: &[Root]) {
        for (hash, (node, bytes)) in other.reached(room, roots) {
            self.0.insert((room, hash), (node.clone(), bytes.clone()));
        }
    }

    /// Puts the nodes of the snapshots `roots` that are new here into `batch`. What only steps between them needed is
    /// left out. A node that is stored already may be written again, with the same bytes.
    pub fn write_into(&self, batch: &mut Batch, room: u64, roots: &[Root]) {
        for (hash, (_, bytes)) in self.reached(room, roots) {
            batch.put(&NODES, (room, hash), NodeBytes(bytes.clone()));
        }
    }

    /// The new nodes of snapshots.
    fn reached(&self, room: u64, roots: &[Root]) -> HashMap<Hash, &(Arc<Node>, Vec<u8>)> {
        let mut open: Vec<Hash> = roots.iter().map(|root| root.0).collect();
        let mut reached = HashMap::new();
        while let Some(hash) = open.pop() {
            let Some(new) = self.0.get(&(room, hash)) else {
                continue;
            };
            if reached.insert(hash, new).is_none() {
                let children = new.0.as_fork().into_iter().flat_map(|fork| fork.children());
                open.extend(children.map(|(_, hash)| hash));
            }
        }
        reached
    }
}
