//! Owns what is stored of nodes and leases, and the rule by which free leases find a holder. The rule is pure: nodes that
//! see the same decide the same, so that they rarely get into each other's way. Must never decide who is dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde::{Deserialize, Serialize};

use super::{About, Lease, Member, NodeId};
use crate::{Direction, Error, Family, Json, SCAN_LIMIT, Table, View};

/// Who holds a lease, and for the how many-th time it was taken.
pub(super) const LEASES: Table<String, Lease> = Table::new(2, "leases", Family::Records);

/// Counts up while the node lives.
pub(super) const BEATS: Table<[u8; 8], u64> = Table::new(3, "node_beats", Family::Records);

/// The nodes that live, or were not found dead yet.
pub(super) const NODES: Table<[u8; 8], Json<Entry>> = Table::new(4, "nodes", Family::Records);

/// A node as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) about: About,
    /// The leases that it tries for.
    pub(super) wants: BTreeSet<String>,
}

/// Everything that is stored, as of one view.
#[derive(Default)]
pub(super) struct Roster {
    pub(super) nodes: BTreeMap<NodeId, Entry>,
    pub(super) beats: BTreeMap<NodeId, u64>,
    pub(super) leases: BTreeMap<String, Lease>,
}

impl Roster {
    pub(super) async fn read(view: &View) -> Result<Self, Error> {
        let forward = Direction::Forward;
        let nodes = view.scan_prefix(&NODES, (), forward, SCAN_LIMIT).await?;
        let beats = view.scan_prefix(&BEATS, (), forward, SCAN_LIMIT).await?;
        let leases = view.scan_prefix(&LEASES, (), forward, SCAN_LIMIT).await?;
        let nodes = nodes
            .into_iter()
            .map(|(id, Json(entry))| (NodeId(id), entry));
        let beats = beats.into_iter().map(|(id, beat)| (NodeId(id), beat));
        Ok(Self {
            nodes: nodes.collect(),
            beats: beats.collect(),
            leases: leases.into_iter().collect(),
        })
    }

    /// The node that holds the lease; one that is struck off holds nothing.
    pub(super) fn holder(&self, name: &str) -> Option<NodeId> {
        let holder = self.leases.get(name)?.holder?;
        self.nodes.contains_key(&holder).then_some(holder)
    }

    pub(super) fn of(&self, node: NodeId) -> impl Iterator<Item = (&str, &Lease)> {
        let leases = self.leases.iter();
        leases
            .filter(move |(_, lease)| lease.holder == Some(node))
            .map(|(name, lease)| (name.as_str(), lease))
    }

    pub(super) fn members(self) -> Vec<Member> {
        let members = self.nodes.iter().map(|(id, entry)| Member {
            id: *id,
            about: entry.about.clone(),
            leases: self
                .of(*id)
                .map(|(name, lease)| (name.to_owned(), lease.epoch))
                .collect(),
        });
        members.collect()
    }

    fn counts(&self) -> BTreeMap<NodeId, usize> {
        let nodes = self.nodes.keys();
        nodes.map(|id| (*id, self.of(*id).count())).collect()
    }

    /// Who should take each free lease: one who wants it and has the fewest by then. Suspects get nothing.
    pub(super) fn heirs(&self, suspects: &BTreeSet<NodeId>) -> BTreeMap<String, NodeId> {
        let mut counts = self.counts();
        let wanted: BTreeSet<&String> = self.nodes.values().flat_map(|node| &node.wants).collect();
        let mut heirs = BTreeMap::new();
        for name in wanted {
            if self.holder(name).is_some() {
                continue;
            }
            let candidates = self.candidates(name, suspects);
            let fewest = candidates.min_by_key(|(id, _)| {
                let count = counts.get(id).copied().unwrap_or_default();
                (count, lot(name, **id))
            });
            if let Some((id, _)) = fewest {
                *counts.entry(*id).or_default() += 1;
                heirs.insert(name.clone(), *id);
            }
        }
        heirs
    }

    fn candidates(
        &self,
        name: &str,
        suspects: &BTreeSet<NodeId>,
    ) -> impl Iterator<Item = (&NodeId, &Entry)> {
        let nodes = self.nodes.iter();
        nodes.filter(move |(id, it)| !suspects.contains(id) && it.wants.contains(name))
    }

    /// The leases that `node` should hand over, since another one who wants them has at least two fewer.
    pub(super) fn surplus(&self, node: NodeId, suspects: &BTreeSet<NodeId>) -> Vec<String> {
        let mut counts = self.counts();
        let mut surplus = Vec::new();
        for (name, _) in self.of(node) {
            let mine = counts.get(&node).copied().unwrap_or_default();
            let others = self
                .candidates(name, suspects)
                .filter(|(id, _)| **id != node);
            let fewest = others.min_by_key(|(id, _)| counts.get(id).copied().unwrap_or_default());
            if let Some((id, _)) = fewest
                && counts.get(id).copied().unwrap_or_default() + 2 <= mine
            {
                *counts.entry(*id).or_default() += 1;
                *counts.entry(node).or_default() -= 1;
                surplus.push(name.to_owned());
            }
        }
        surplus
    }
}

/// Decides between equals, for each lease anew.
fn lot(name: &str, node: NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, node).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leases::Epoch;

    fn roster(nodes: &[(u8, &[&str])], leases: &[(&str, Option<u8>)]) -> Roster {
        let nodes = nodes.iter().map(|(id, wants)| {
            let wants = wants.iter().map(|&name| name.to_owned()).collect();
            let about = About::default();
            (NodeId([*id; 8]), Entry { about, wants })
        });
        let leases = leases.iter().map(|(name, holder)| {
            let holder = holder.map(|id| NodeId([id; 8]));
            let epoch = Epoch(1);
            ((*name).to_owned(), Lease { epoch, holder })
        });
        Roster {
            nodes: nodes.collect(),
            beats: BTreeMap::new(),
            leases: leases.collect(),
        }
    }

    #[test]
    fn free_leases_are_spread_over_those_who_want_them() {
        let all: &[&str] = &["a", "b", "c", "d", "e", "f"];
        let three = roster(&[(1, all), (2, all), (3, all)], &[]);
        let heirs = three.heirs(&BTreeSet::new());
        assert_eq!(heirs.len(), 6);
        for id in [1, 2, 3] {
            let own = heirs.values().filter(|heir| **heir == NodeId([id; 8]));
            assert_eq!(own.count(), 2);
        }
        // One who does not want a lease is no candidate; a holder that is struck off holds nothing.
        let mixed = roster(&[(1, &["a"]), (2, &["b"])], &[("a", Some(9)), ("b", None)]);
        let heirs = mixed.heirs(&BTreeSet::new());
        assert_eq!(heirs.get("a"), Some(&NodeId([1; 8])));
        assert_eq!(heirs.get("b"), Some(&NodeId([2; 8])));
    }

    #[test]
    fn a_newcomer_is_handed_half_and_nobody_more_than_that() {
        let all: &[&str] = &["a", "b", "c", "d", "e"];
        let held = all.iter().map(|name| (*name, Some(1))).collect::<Vec<_>>();
        let two = roster(&[(1, all), (2, all)], &held);
        assert_eq!(two.surplus(NodeId([1; 8]), &BTreeSet::new()).len(), 2);
        assert!(two.surplus(NodeId([2; 8]), &BTreeSet::new()).is_empty());
        // Nor is anything handed to, or left for, one who may be dead.
        let suspects = BTreeSet::from([NodeId([2; 8])]);
        assert!(two.surplus(NodeId([1; 8]), &suspects).is_empty());
        let free = roster(&[(1, all), (2, all)], &[]);
        let heirs = free.heirs(&suspects);
        assert!(heirs.values().all(|heir| *heir == NodeId([1; 8])));
        // Whoever wants none of them is handed none.
        let other = roster(&[(1, all), (2, &["x"])], &held);
        assert!(other.surplus(NodeId([1; 8]), &BTreeSet::new()).is_empty());
    }
}
