//! Owns the form of a node: a fork with the hashes of what is below, or a bucket with the last entries of a path. Must
//! never encode the same node in two ways.

use hearth_store::Error as StoreError;
use sha2::{Digest as _, Sha256};

use super::{
    entry::{Entry, EntryRef, malformed},
    path::{OTHERS, Path},
};

/// What names a node: see [`hash`].
pub(crate) type Hash = [u8; 12];

/// How many bytes of entries a bucket holds at most, unless it is a single entry that is longer. Chosen so that most
/// buckets hold three to five members and any entry of usual length fits: see decision 3. Part of the stored form.
pub(crate) const BUCKET_BYTES: usize = 320;

/// The block of the digits 0 to 7 together.
pub(crate) const WHOLE: u8 = 1;

/// The block, at the root alone, of the digit [`OTHERS`].
pub(crate) const OTHERS_BLOCK: u8 = 0;

const TAG_BUCKET: u8 = 0;
const TAG_FORK: u8 = 1;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Fork(Fork),
    Bucket(Bucket),
}

/// A node with others below it. Its children are *blocks* of digits: 1 is all eight, 2 and 3 the halves, 4 to 7 pairs, 8 to 15
/// single digits, so that b is part of b / 2. A block of several digits is a bucket, the largest that fits; under a single
/// digit, and under [`OTHERS_BLOCK`], there may be a fork too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fork {
    /// Which blocks there are, a bit each.
    shape: u16,
    hashes: Vec<Hash>,
}

impl Fork {
    /// A fork with these children, whose blocks rise.
    pub(crate) fn of(children: impl IntoIterator<Item = (u8, Hash)>) -> Self {
        let mut fork = Self::default();
        for (block, hash) in children {
            fork.shape |= 1 << block;
            fork.hashes.push(hash);
        }
        fork
    }

    /// The child of exactly this block.
    pub(crate) fn child(&self, block: u8) -> Option<Hash> {
        let bit = 1u16.checked_shl(block.into())?;
        let before = (self.shape & (bit - 1)).count_ones();
        (self.shape & bit != 0)
            .then(|| self.hashes.get(usize::try_from(before).ok()?).copied())
            .flatten()
    }

    /// The child whose block holds `digit`.
    pub(crate) fn under(&self, digit: u8) -> Option<(u8, Hash)> {
        let mut block = block_of(digit);
        loop {
            if let Some(hash) = self.child(block) {
                return Some((block, hash));
            }
            if block <= WHOLE {
                return None;
            }
            block /= 2;
        }
    }

    /// Its children, blocks rising.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u8, Hash)> + '_ {
        let blocks = (0..16u8).filter(|block| self.shape & (1 << block) != 0);
        blocks.zip(self.hashes.iter().copied())
    }

    /// Whether there is a child in a part of `block`.
    pub(crate) fn has_parts_of(&self, block: u8) -> bool {
        self.children()
            .any(|(child, _)| child != block && is_part(child, block))
    }

    /// The children in `block` or parts of it.
    pub(crate) fn parts_of(&self, block: u8) -> Self {
        Self::of(self.children().filter(|(child, _)| is_part(*child, block)))
    }
}

/// The entries at the end of a path, sorted by type and state key, as they are stored. They were read once, so each can
/// be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket(Box<[u8]>);

impl Bucket {
    /// A bucket of these entries, in whatever order.
    pub(crate) fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|a, b| a.name().cmp(&b.name()));
        let mut bytes = Vec::with_capacity(BUCKET_BYTES);
        for entry in &entries {
            entry.encode(&mut bytes);
        }
        Self(bytes.into())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || match rest.is_empty() {
            true => None,
            false => EntryRef::read(&mut rest).ok(),
        })
    }

    pub(crate) fn to_entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.entries().map(EntryRef::to_owned).collect()
    }
}

impl Node {
    pub(crate) fn as_fork(&self) -> Option<&Fork> {
        match self {
            Self::Fork(fork) => Some(fork),
            Self::Bucket(_) => None,
        }
    }

    /// The one form in bytes: a tag; then which blocks there are and their hashes, or the entries.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Fork(fork) => {
                let mut out = Vec::with_capacity(3 + fork.hashes.len() * size_of::<Hash>());
                out.push(TAG_FORK);
                out.extend_from_slice(&fork.shape.to_be_bytes());
                out.extend(fork.hashes.iter().flatten());
                out
            }
            Self::Bucket(Bucket(entries)) => {
                let mut out = Vec::with_capacity(1 + entries.len());
                out.push(TAG_BUCKET);
                out.extend_from_slice(entries);
                out
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes {
            [TAG_FORK, high, low, hashes @ ..] => {
                let shape = u16::from_be_bytes([*high, *low]);
                let (hashes, rest) = hashes.as_chunks::<{ size_of::<Hash>() }>();
                let count = usize::try_from(shape.count_ones()).map_err(|_| malformed())?;
                if hashes.len() != count || !rest.is_empty() {
                    return Err(malformed());
                }
                let hashes = hashes.to_vec();
                Ok(Self::Fork(Fork { shape, hashes }))
            }
            [TAG_BUCKET, entries @ ..] => {
                let mut rest = entries;
                while !rest.is_empty() {
                    EntryRef::read(&mut rest)?;
                }
                Ok(Self::Bucket(Bucket(entries.into())))
            }
            _ => Err(malformed()),
        }
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Fork(fork) => fork.hashes.capacity() * size_of::<Hash>(),
                Self::Bucket(Bucket(entries)) => entries.len(),
            }
    }
}

/// Whether these entries belong into one bucket.
pub(crate) fn fits<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> bool {
    let (mut count, mut weight) = (0, 0);
    for entry in entries {
        count += 1;
        weight += entry.weight();
        if count > 1 && weight > BUCKET_BYTES {
            return false;
        }
    }
    true
}

/// The block of a single digit.
pub(crate) fn block_of(digit: u8) -> u8 {
    match digit {
        OTHERS => OTHERS_BLOCK,
        digit => 8 + (digit & 7),
    }
}

/// Whether `part` is `block` or a part of it.
pub(crate) fn is_part(part: u8, block: u8) -> bool {
    let mut part = part;
    while part > block && part > WHOLE {
        part /= 2;
    }
    part == block
}

/// Whether what lies at `path` belongs into `block` of a node at `depth`.
pub(crate) fn is_within(path: &Path, depth: usize, block: u8) -> bool {
    is_part(block_of(path.digit(depth)), block)
}

/// The hash that names a node: 96 bits of SHA-256 over the room's number and the node. The number is random and must never
/// leave the server, so nobody can look for two nodes with the same hash; by chance it does not happen. See decision 3.
pub(crate) fn hash(room: u64, bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(room.to_be_bytes());
    hasher.update([0]);
    hasher.update(bytes);
    let digest = hasher.finalize();
    let mut out = Hash::default();
    out.copy_from_slice(&digest[..size_of::<Hash>()]);
    out
}
