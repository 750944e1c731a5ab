//! Owns the form of a node: up to eight children, each an entry or the hash of a node below; and the digits that all
//! paths through it share since the node above. Must never encode the same node in two ways.

use hearth_store::Error as StoreError;
use ruma::{EventId, OwnedEventId};
use sha2::{Digest as _, Sha256};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// How many digits of three bits a path has.
pub(crate) const DIGITS: usize = 43;

/// What names a node: see [`hash`].
pub(crate) type Hash = [u8; 12];

/// Types that are written as one byte. Part of the stored form: only add at the end.
const KNOWN_TYPES: [&str; 24] = [
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.third_party_invite",
    "m.room.tombstone",
    "m.room.server_acl",
    "m.room.pinned_events",
    "m.room.policy",
    "m.space.child",
    "m.space.parent",
    "m.policy.rule.user",
    "m.policy.rule.room",
    "m.policy.rule.server",
    "m.call.member",
    "org.matrix.msc3401.call.member",
    "im.vector.modular.widgets",
];

/// The place of an entry: three bits at a time. Members have the first digit 0 to themselves and go on with their
/// key, since they are nearly all of a big room; other types have five digits of their type first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    first: u8,
    type_bits: u16,
    key_bits: u128,
    /// How many digits all entries of this type share.
    pub(crate) type_digits: usize,
}

impl Path {
    pub(crate) fn of(event_type: &str, state_key: &str) -> Self {
        let mut both = Sha256::new();
        both.update(event_type.as_bytes());
        both.update([0xFF]);
        both.update(state_key.as_bytes());
        let mut key_bits = [0; 16];
        key_bits.copy_from_slice(&both.finalize()[..16]);
        let key_bits = u128::from_be_bytes(key_bits);
        if event_type == "m.room.member" {
            return Self {
                first: 0,
                type_bits: 0,
                key_bits,
                type_digits: 1,
            };
        }
        let of_type = Sha256::digest(event_type.as_bytes());
        let type_bits = u16::from_be_bytes([of_type[1], of_type[2]]);
        Self {
            first: 1 + of_type[0] % 7,
            type_bits,
            key_bits,
            type_digits: 5,
        }
    }

    /// The digit at `depth`, 0 to 7.
    pub(crate) fn digit(&self, depth: usize) -> u8 {
        if depth == 0 {
            return self.first;
        }
        let bits = match depth.checked_sub(self.type_digits) {
            None => u128::from(self.type_bits) >> (3 * (depth - 1)),
            Some(beyond) => self.key_bits >> (3 * beyond).min(125),
        };
        u8::try_from(bits & 7).unwrap_or(0)
    }
}

/// One piece of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) event_type: Box<str>,
    pub(crate) state_key: Box<str>,
    pub(crate) event_id: OwnedEventId,
}

impl Entry {
    pub(crate) fn is(&self, event_type: &str, state_key: &str) -> bool {
        &*self.event_type == event_type && &*self.state_key == state_key
    }

    /// Type, state key, event id.
    pub(crate) fn to_tuple(&self) -> (String, String, OwnedEventId) {
        (
            self.event_type.to_string(),
            self.state_key.to_string(),
            self.event_id.clone(),
        )
    }
}

/// What hangs under a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    Entry(Entry),
    Node(Hash),
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// The digits that every path through here has between the node above and this one's fork.
    pub(crate) skipped: Vec<u8>,
    children: [Option<Box<Child>>; 8],
}

impl Node {
    pub(crate) fn of<const N: usize>(skipped: Vec<u8>, children: [(u8, Child); N]) -> Self {
        let mut node = Self {
            skipped,
            children: Default::default(),
        };
        for (digit, child) in children {
            node.children[usize::from(digit & 7)] = Some(Box::new(child));
        }
        node
    }

    pub(crate) fn child(&self, digit: u8) -> Option<&Child> {
        self.children[usize::from(digit & 7)].as_deref()
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = (u8, &Child)> {
        (0..8).filter_map(|digit| Some((digit, self.child(digit)?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    /// The only child, where there is just one.
    pub(crate) fn only(&self) -> Option<(u8, &Child)> {
        let mut children = self.children();
        let first = children.next();
        if children.next().is_some() {
            None
        } else {
            first
        }
    }

    /// A copy with another child under `digit`.
    pub(crate) fn with(&self, digit: u8, child: Option<Child>) -> Self {
        let mut node = self.clone();
        node.children[usize::from(digit & 7)] = child.map(Box::new);
        node
    }

    /// A copy with other skipped digits.
    pub(crate) fn skipping(&self, skipped: Vec<u8>) -> Self {
        Self {
            skipped,
            children: self.children.clone(),
        }
    }

    /// How many of the skipped digits `path` has too, where this node begins at depth `start`.
    pub(crate) fn shared(&self, path: &Path, start: usize) -> usize {
        let same = |(i, digit): &(usize, &u8)| path.digit(start + i) == **digit;
        self.skipped.iter().enumerate().take_while(same).count()
    }

    /// A node that forks after `shared` skipped digits into this one and `child` under `digit`. `add` stores this one,
    /// shortened, and tells its hash.
    pub(crate) fn split(
        &self,
        shared: usize,
        digit: u8,
        child: Child,
        add: impl FnOnce(Self) -> Hash,
    ) -> Self {
        let own = self.skipped[shared];
        let below = Child::Node(add(self.skipping(self.skipped[shared + 1..].to_vec())));
        Self::of(
            self.skipped[..shared].to_vec(),
            [(own, below), (digit, child)],
        )
    }

    /// The one form in bytes: skipped digits, which children there are, which of them are entries, the children.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.push(u8::try_from(self.skipped.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.skipped);
        let (mut present, mut entries) = (0u8, 0u8);
        for (digit, child) in self.children() {
            present |= 1 << digit;
            if matches!(child, Child::Entry(_)) {
                entries |= 1 << digit;
            }
        }
        out.extend_from_slice(&[present, entries]);
        for (_, child) in self.children() {
            match child {
                Child::Node(hash) => out.extend_from_slice(hash),
                Child::Entry(entry) => encode_entry(&mut out, entry),
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut r = Input(bytes);
        let skip = usize::from(r.byte()?);
        let skipped = r.take(skip)?.to_vec();
        let (present, entries) = (r.byte()?, r.byte()?);
        let mut node = Self {
            skipped,
            children: Default::default(),
        };
        for digit in (0..8u8).filter(|digit| present & (1 << digit) != 0) {
            let child = if entries & (1 << digit) != 0 {
                Child::Entry(r.entry()?)
            } else {
                let taken = r.take(size_of::<Hash>())?;
                Child::Node(Hash::try_from(taken).map_err(|_| malformed())?)
            };
            node.children[usize::from(digit)] = Some(Box::new(child));
        }
        if r.0.is_empty() {
            Ok(node)
        } else {
            Err(malformed())
        }
    }
}

/// The hash that names a node: 96 bits of SHA-256 over the room's number and the node. The number is random and never
/// leaves the server, so nobody can look for two nodes with the same hash; by chance it does not happen.
pub(crate) fn hash(room: u64, bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(room.to_be_bytes());
    hasher.update(bytes);
    let digest = hasher.finalize();
    let mut out = Hash::default();
    out.copy_from_slice(&digest[..size_of::<Hash>()]);
    out
}

/// The next higher hash; `None` after the highest.
pub(crate) fn after(mut hash: Hash) -> Option<Hash> {
    for byte in hash.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(hash);
        }
    }
    None
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    match KNOWN_TYPES
        .iter()
        .position(|known| *known == &*entry.event_type)
    {
        Some(known) => out.push(u8::try_from(known + 1).unwrap_or(0)),
        None => {
            out.push(0);
            encode_text(out, &entry.event_type);
        }
    }
    encode_text(out, &entry.state_key);
    let id = entry.event_id.as_str();
    match hashed(id) {
        Some(hash) => {
            out.push(1);
            out.extend_from_slice(&hash);
        }
        None => {
            out.push(0);
            encode_text(out, id);
        }
    }
}

/// The hash that an event id of room version 4 or later consists of, if the id can be made from it again.
fn hashed(id: &str) -> Option<[u8; 32]> {
    let text = id.strip_prefix('$').filter(|text| text.len() == 43)?;
    <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Length in two bytes, then the text. Types, state keys and ids are 255 bytes at most.
fn encode_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        out.extend_from_slice(&(length | 0x8000).to_be_bytes());
    }
    out.extend_from_slice(&text.as_bytes()[..usize::from(length & 0x7FFF).min(text.len())]);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], StoreError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, StoreError> {
        Ok(self.take(1)?[0])
    }

    fn text(&mut self) -> Result<&'a str, StoreError> {
        let first = self.byte()?;
        let length = if first & 0x80 == 0 {
            usize::from(first)
        } else {
            usize::from(first & 0x7F) << 8 | usize::from(self.byte()?)
        };
        std::str::from_utf8(self.take(length)?).map_err(|_| malformed())
    }

    fn entry(&mut self) -> Result<Entry, StoreError> {
        let event_type = match usize::from(self.byte()?) {
            0 => self.text()?,
            known => KNOWN_TYPES.get(known - 1).ok_or_else(malformed)?,
        };
        let state_key = self.text()?.into();
        let event_id = match self.byte()? {
            0 => EventId::parse(self.text()?).map_err(|_| malformed())?,
            1 => {
                let text = format!("${}", URL_SAFE_NO_PAD.encode(self.take(32)?));
                EventId::parse(text).map_err(|_| malformed())?
            }
            _ => return Err(malformed()),
        };
        Ok(Entry {
            event_type: event_type.into(),
            state_key,
            event_id,
        })
    }
}

fn malformed() -> StoreError {
    StoreError::Corrupt("a state node is malformed".into())
}
