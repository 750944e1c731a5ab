//! Owns how one snapshot follows from another: which nodes are new once updates are in. Pure: what it has to read is named
//! in a list, and the caller tries again with it. Must give the same tree for the same entries, whatever was there before:
//! a block is a bucket if its entries fit into one, and is split if they do not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hearth_store::Error as StoreError;
use ruma::OwnedEventId;

use super::{
    Root,
    entry::Entry,
    node::{
        Bucket, Fork, Hash, Node, OTHERS_BLOCK, WHOLE, block_of, fits, hash, is_part, is_within,
    },
    path::{DIGITS, Path},
};

/// An entry that is to be set, or to be gone.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) path: Path,
    pub(super) event_type: Box<str>,
    pub(super) state_key: Box<str>,
    pub(super) event_id: Option<OwnedEventId>,
}

/// Entries with their places.
type Placed = Vec<(Path, Entry)>;

/// An edit of one tree.
pub(super) struct Edit<'a> {
    room: u64,
    /// The nodes that were read for it.
    known: &'a HashMap<Hash, Arc<Node>>,
    /// The nodes that it has to read before it can be made.
    pub(super) missing: Vec<Hash>,
    /// The nodes that it made.
    pub(super) made: Vec<(Hash, Node, Vec<u8>)>,
}

/// What is to be in a block.
#[derive(Clone, Debug)]
enum Piece {
    Empty,
    /// What was there.
    Kept(Hash),
    /// A fork that was made.
    Fork(Hash),
    /// Entries that fit into one bucket.
    Few(Vec<Entry>),
}

/// A piece, and whether the entries there may need less room than before, so that they might fit in with others.
type Outcome = (Piece, bool);

/// The blocks of a node that is being made.
#[derive(Default)]
struct Blocks {
    pieces: HashMap<u8, Piece>,
    /// Blocks whose entries may need less room than before.
    shrunk: Vec<u8>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(room: u64, known: &'a HashMap<Hash, Arc<Node>>) -> Self {
        Self {
            room,
            known,
            missing: Vec::new(),
            made: Vec::new(),
        }
    }

    /// The snapshot after `updates`, of which the later wins. Only valid if nothing is missing afterwards.
    pub(super) fn root(&mut self, old: Root, updates: Vec<Update>) -> Result<Root, StoreError> {
        let old = (old != Root::EMPTY).then_some(old.0);
        let (piece, _) = self.at(0, old, updates)?;
        Ok(self.write(piece).map_or(Root::EMPTY, Root))
    }

    /// What is under a place of the tree after `updates`: the node `old` was there.
    fn at(
        &mut self,
        depth: usize,
        old: Option<Hash>,
        updates: Vec<Update>,
    ) -> Result<Outcome, StoreError> {
        if updates.is_empty() {
            return Ok((old.map_or(Piece::Empty, Piece::Kept), false));
        }
        let node = match old {
            None => None,
            Some(hash) => match self.known.get(&hash) {
                Some(node) => Some(node.clone()),
                None => {
                    self.missing.push(hash);
                    return Ok((Piece::Empty, false));
                }
            },
        };
        match (node.as_deref(), old) {
            (Some(Node::Fork(fork)), Some(hash)) => self.in_fork(depth, hash, fork, updates),
            (Some(Node::Bucket(bucket)), Some(hash)) => {
                let (entries, shrunk) = merge(bucket.to_entries()?, updates);
                match entries {
                    None => Ok((Piece::Kept(hash), false)),
                    Some(entries) => Ok((self.of_entries(depth, entries)?, shrunk)),
                }
            }
            _ => {
                let entries = merge(Vec::new(), updates).0.unwrap_or_default();
                Ok((self.of_entries(depth, entries)?, false))
            }
        }
    }

    /// A whole place with these entries.
    fn of_entries(&mut self, depth: usize, entries: Vec<Entry>) -> Result<Piece, StoreError> {
        if entries.is_empty() {
            return Ok(Piece::Empty);
        }
        if fits(&entries) {
            return Ok(Piece::Few(entries));
        }
        let placed = self.placed(entries);
        self.of_placed(depth, placed)
    }

    /// As [`Edit::of_entries`], for entries that do not fit into one bucket.
    fn of_placed(&mut self, depth: usize, placed: Placed) -> Result<Piece, StoreError> {
        if depth >= DIGITS {
            // 117 bits of a keyed hash agree: that does not happen by chance.
            return Err(StoreError::Corrupt("two state keys share a path".into()));
        }
        let mut blocks = Blocks::default();
        if depth == 0 {
            let (others, members) = split(placed, depth, OTHERS_BLOCK);
            self.place(depth, OTHERS_BLOCK, others, &mut blocks)?;
            self.place(depth, WHOLE, members, &mut blocks)?;
        } else {
            self.place(depth, WHOLE, placed, &mut blocks)?;
        }
        Ok(Piece::Fork(self.write_fork(blocks)))
    }

    /// Puts entries into a block of a node at `depth`, or into its parts if they do not fit.
    fn place(
        &mut self,
        depth: usize,
        block: u8,
        entries: Placed,
        blocks: &mut Blocks,
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let is_single = block == OTHERS_BLOCK || block >= 8;
        if fits(entries.iter().map(|(_, entry)| entry)) {
            let entries = entries.into_iter().map(|(_, entry)| entry).collect();
            blocks.pieces.insert(block, Piece::Few(entries));
        } else if is_single {
            let piece = self.of_placed(depth + 1, entries)?;
            blocks.pieces.insert(block, piece);
        } else {
            let (left, right) = split(entries, depth, 2 * block);
            self.place(depth, 2 * block, left, blocks)?;
            self.place(depth, 2 * block + 1, right, blocks)?;
        }
        Ok(())
    }

    /// What becomes of the fork `fork`, whose hash is `old`.
    fn in_fork(
        &mut self,
        depth: usize,
        old: Hash,
        fork: &Fork,
        updates: Vec<Update>,
    ) -> Result<Outcome, StoreError> {
        let mut waiting: HashMap<u8, Vec<Update>> = HashMap::new();
        for update in updates {
            let digit = update.path.digit(depth);
            let block = match fork.under(digit) {
                Some((block, _)) => block,
                None => empty_block(fork, block_of(digit)),
            };
            waiting.entry(block).or_default().push(update);
        }
        let mut blocks = Blocks::default();
        for (block, hash) in fork.children() {
            if !waiting.contains_key(&block) {
                blocks.pieces.insert(block, Piece::Kept(hash));
            }
        }
        for (block, updates) in waiting {
            self.in_block(depth, block, fork.child(block), updates, &mut blocks)?;
        }
        let is_shrunk = !blocks.shrunk.is_empty();
        if is_shrunk {
            self.settle(&mut blocks)?;
        }
        if depth > 0
            && let Some(piece) = blocks.pieces.remove(&WHOLE)
        {
            return Ok((piece, true));
        }
        if depth == 0
            && let Some(piece) = self.alone(&mut blocks)?
        {
            return Ok((piece, true));
        }
        if blocks.pieces.is_empty() {
            return Ok((Piece::Empty, true));
        }
        if !self.missing.is_empty() {
            return Ok((Piece::Empty, false));
        }
        let new = self.write_fork(blocks);
        let piece = if new == old {
            Piece::Kept(old)
        } else {
            Piece::Fork(new)
        };
        Ok((piece, is_shrunk))
    }

    fn in_block(
        &mut self,
        depth: usize,
        block: u8,
        old: Option<Hash>,
        updates: Vec<Update>,
        blocks: &mut Blocks,
    ) -> Result<(), StoreError> {
        let is_single = block == OTHERS_BLOCK || block >= 8;
        let shrunk = if is_single {
            let (piece, shrunk) = self.at(depth + 1, old, updates)?;
            if !matches!(piece, Piece::Empty) {
                blocks.pieces.insert(block, piece);
            }
            shrunk
        } else {
            let before = match old {
                None => Vec::new(),
                Some(hash) => match self.entries(&Piece::Kept(hash))? {
                    Some(entries) => entries,
                    None => return Ok(()),
                },
            };
            match (merge(before, updates), old) {
                ((None, _), Some(hash)) => {
                    blocks.pieces.insert(block, Piece::Kept(hash));
                    false
                }
                ((entries, shrunk), _) => {
                    let placed = self.placed(entries.unwrap_or_default());
                    self.place(depth, block, placed, blocks)?;
                    shrunk
                }
            }
        };
        if shrunk {
            blocks.shrunk.push(block);
        }
        Ok(())
    }

    /// Joins blocks next to each other whose entries fit into one bucket, now that some need less room.
    fn settle(&mut self, blocks: &mut Blocks) -> Result<(), StoreError> {
        for block in (WHOLE..8).rev() {
            let is_changed = blocks.shrunk.iter().any(|shrunk| is_part(*shrunk, block));
            let (left, right) = (2 * block, 2 * block + 1);
            let has_parts = |half: u8, blocks: &Blocks| {
                blocks
                    .pieces
                    .keys()
                    .any(|part| *part != half && is_part(*part, half))
            };
            if !is_changed || has_parts(left, blocks) || has_parts(right, blocks) {
                continue;
            }
            let halves = [left, right].map(|half| blocks.pieces.get(&half).cloned());
            if let Some(piece) = self.joined(halves)? {
                blocks.pieces.remove(&left);
                blocks.pieces.remove(&right);
                blocks.pieces.insert(block, piece);
            }
        }
        Ok(())
    }

    /// The root as one bucket, if members and others fit into one.
    fn alone(&mut self, blocks: &mut Blocks) -> Result<Option<Piece>, StoreError> {
        if blocks.shrunk.is_empty() || blocks.pieces.keys().any(|block| *block > WHOLE) {
            return Ok(None);
        }
        let halves = [OTHERS_BLOCK, WHOLE].map(|block| blocks.pieces.get(&block).cloned());
        self.joined(halves)
    }

    /// Two pieces as one bucket, if they fit; nothing for none.
    fn joined(&mut self, halves: [Option<Piece>; 2]) -> Result<Option<Piece>, StoreError> {
        let mut all = Vec::new();
        let mut kept = None;
        for piece in halves.iter().flatten() {
            let Some(entries) = self.entries(piece)? else {
                return Ok(None);
            };
            all.extend(entries);
            kept = Some(piece.clone());
        }
        match (kept, &halves) {
            (None, _) => Ok(None),
            (only, [None, _] | [_, None]) => Ok(only),
            _ => Ok(fits(&all).then_some(Piece::Few(all))),
        }
    }

    /// The entries of a piece; nothing for a fork, or what is not read yet.
    fn entries(&mut self, piece: &Piece) -> Result<Option<Vec<Entry>>, StoreError> {
        match piece {
            Piece::Empty => Ok(Some(Vec::new())),
            Piece::Few(entries) => Ok(Some(entries.clone())),
            Piece::Fork(_) => Ok(None),
            Piece::Kept(hash) => match self.known.get(hash).map(|node| &**node) {
                Some(Node::Bucket(bucket)) => bucket.to_entries().map(Some),
                Some(Node::Fork(_)) => Ok(None),
                None => {
                    self.missing.push(*hash);
                    Ok(None)
                }
            },
        }
    }

    fn placed(&self, entries: Vec<Entry>) -> Placed {
        let path = |entry: &Entry| Path::of(self.room, &entry.event_type, &entry.state_key);
        entries
            .into_iter()
            .map(|entry| (path(&entry), entry))
            .collect()
    }

    fn write_fork(&mut self, blocks: Blocks) -> Hash {
        let mut pieces: Vec<_> = blocks.pieces.into_iter().collect();
        pieces.sort_unstable_by_key(|(block, _)| *block);
        let children: Vec<_> = pieces
            .into_iter()
            .filter_map(|(block, piece)| Some((block, self.write(piece)?)))
            .collect();
        self.make(Node::Fork(Fork::of(children)))
    }

    fn write(&mut self, piece: Piece) -> Option<Hash> {
        match piece {
            Piece::Empty => None,
            Piece::Kept(hash) | Piece::Fork(hash) => Some(hash),
            Piece::Few(entries) => Some(self.make(Node::Bucket(Bucket::of(entries)))),
        }
    }

    fn make(&mut self, node: Node) -> Hash {
        let bytes = node.encode();
        let hash = hash(self.room, &bytes);
        self.made.push((hash, node, bytes));
        hash
    }
}

/// The largest block around an empty one that is empty in `fork`.
fn empty_block(fork: &Fork, block: u8) -> u8 {
    let mut block = block;
    while block > WHOLE && !fork.has_parts_of(block / 2) {
        block /= 2;
    }
    block
}

/// The entries that lie in `block` of a node at `depth`, and the rest.
fn split(entries: Placed, depth: usize, block: u8) -> (Placed, Placed) {
    entries
        .into_iter()
        .partition(|(path, _)| is_within(path, depth, block))
}

/// `entries` after `updates`, unless they stay as they were, and whether they may need less room.
fn merge(entries: Vec<Entry>, updates: Vec<Update>) -> (Option<Vec<Entry>>, bool) {
    let weight = |entries: &[Entry]| entries.iter().map(Entry::weight).sum::<usize>();
    let before = (entries.len(), weight(&entries));
    let mut merged: BTreeMap<(Box<str>, Box<str>), OwnedEventId> = BTreeMap::new();
    let name = |entry: &Entry| (entry.event_type.clone(), entry.state_key.clone());
    merged.extend(
        entries
            .iter()
            .map(|entry| (name(entry), entry.event_id.clone())),
    );
    for update in updates {
        let name = (update.event_type, update.state_key);
        match update.event_id {
            Some(event_id) => drop(merged.insert(name, event_id)),
            None => drop(merged.remove(&name)),
        }
    }
    let is_kept = |entry: &Entry| merged.get(&name(entry)) == Some(&entry.event_id);
    if merged.len() == before.0 && entries.iter().all(is_kept) {
        return (None, false);
    }
    let after: Vec<_> = merged
        .into_iter()
        .map(|((event_type, state_key), event_id)| Entry {
            event_type,
            state_key,
            event_id,
        })
        .collect();
    let shrunk = after.len() < before.0 || weight(&after) < before.1;
    (Some(after), shrunk)
}
