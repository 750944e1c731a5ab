//! Owns the removal of nodes that no snapshot reaches any more, room by room. Must never remove a node that a commit
//! beside it makes reachable again: each batch asserts that the room's head is as it was when the walk began.

use std::collections::HashSet;

use hearth_store::{Batch, CommitError, Direction, Error as StoreError, Store};

use super::{
    NODES, NodeBytes, Nodes, Root, StateTree,
    node::{Hash, after},
};

/// How many nodes are looked at, or removed, at a time.
const STEP: usize = 1000;

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Nodes that stay.
    pub kept: usize,
    /// Nodes that were removed.
    pub removed: usize,
    /// Whether the room moved meanwhile, so that the rest is left for another time.
    pub interrupted: bool,
}

impl StateTree {
    /// Removes the nodes of `room` that no snapshot of `live` reaches. `unchanged` adds to a batch the assertion that
    /// the room's head is still the one that `live` was read with.
    ///
    /// # Errors
    /// Those of the store. What was removed until then stays removed.
    pub async fn collect(
        &self,
        store: &Store,
        room: u64,
        live: &[Root],
        unchanged: impl Fn(&mut Batch),
    ) -> Result<Collected, StoreError> {
        let view = store.view().await?;
        let reachable = self.reachable((&view).into(), room, live).await?;
        let mut done = Collected::default();
        let mut from = Hash::default();
        loop {
            let end = room.saturating_add(1);
            let range = (room, from)..(end, Hash::default());
            let found = view.scan(&NODES, range, Direction::Forward, STEP).await?;
            let Some(((_, last), _)) = found.last() else {
                return Ok(done);
            };
            let (last, full) = (*last, found.len() == STEP);
            let mut batch = Batch::new();
            unchanged(&mut batch);
            let dead = remove_dead(&mut batch, room, &found, &reachable);
            done.kept += found.len() - dead;
            if dead > 0 {
                match store.commit(batch).await {
                    Ok(_) => done.removed += dead,
                    Err(CommitError::Conflict) => {
                        done.interrupted = true;
                        return Ok(done);
                    }
                    Err(CommitError::Failed(error)) => return Err(error),
                }
            }
            match after(last) {
                Some(next) if full => from = next,
                _ => return Ok(done),
            }
        }
    }

    async fn reachable(
        &self,
        nodes: Nodes<'_>,
        room: u64,
        live: &[Root],
    ) -> Result<HashSet<Hash>, StoreError> {
        let mut open: Vec<_> = live
            .iter()
            .filter(|r| **r != Root::EMPTY)
            .map(|r| r.0)
            .collect();
        let mut reachable = HashSet::new();
        while !open.is_empty() {
            let mut next = open.split_off(open.len().saturating_sub(STEP));
            next.retain(|hash| reachable.insert(*hash));
            for node in self.load_many(nodes, room, &next).await? {
                let children = node.as_fork().into_iter().flat_map(|fork| fork.children());
                open.extend(children.map(|(_, hash)| hash));
            }
        }
        Ok(reachable)
    }
}

/// Adds the removal of what is not reachable, and tells how much that is.
fn remove_dead(
    batch: &mut Batch,
    room: u64,
    found: &[((u64, Hash), NodeBytes)],
    reachable: &HashSet<Hash>,
) -> usize {
    let mut dead = 0;
    for ((_, hash), _) in found {
        if !reachable.contains(hash) {
            batch.delete(&NODES, (room, *hash));
            dead += 1;
        }
    }
    dead
}
