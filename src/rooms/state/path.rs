//! Owns the place of an entry in the tree: digits of three bits that a keyed hash gives. Must never depend on anything
//! but the room, the type and the state key, nor be told to anybody.

use sha2::{Digest as _, Sha256};

/// How many digits a path has at most.
pub(crate) const DIGITS: usize = 42;

/// The digit, at the root alone, of all that is not a membership.
pub(crate) const OTHERS: u8 = 8;

/// How many digits after the first the entries of one type share, unless they are memberships.
const TYPE_DIGITS: usize = 2;

/// The one type whose entries are nearly all of a big room.
const MEMBER: &str = "m.room.member";

/// The place of an entry. Memberships start with digits of their key at once; the others have the digit [`OTHERS`],
/// two of their type, then those of their key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    is_member: bool,
    type_bits: u8,
    key_bits: u128,
}

impl Path {
    /// The place of (type, state key) in the room with this number. The number is secret: with an open hash, somebody could
    /// look for state keys that lie side by side until the paths to them are long.
    pub(crate) fn of(room: u64, event_type: &str, state_key: &str) -> Self {
        Self {
            key_bits: keyed(room, 2, &[event_type.as_bytes(), state_key.as_bytes()]),
            ..Self::of_type(room, event_type)
        }
    }

    /// The first digits of the places of all entries of a type.
    pub(crate) fn of_type(room: u64, event_type: &str) -> Self {
        let is_member = event_type == MEMBER;
        let type_bits = match is_member {
            true => 0,
            false => keyed(room, 1, &[event_type.as_bytes()]) & 0x3F,
        };
        Self {
            is_member,
            type_bits: u8::try_from(type_bits).unwrap_or(0),
            key_bits: 0,
        }
    }

    pub(crate) fn is_of_members(&self) -> bool {
        self.is_member
    }

    /// The digit at `depth`: 0 to 7, or [`OTHERS`] at the root.
    pub(crate) fn digit(&self, depth: usize) -> u8 {
        let bits = match (self.is_member, depth) {
            (true, _) => self.key_bits >> 3_usize.saturating_mul(depth).min(125),
            (false, 0) => return OTHERS,
            (false, 1..=TYPE_DIGITS) => u128::from(self.type_bits) >> (3 * (depth - 1)),
            (false, _) => self.key_bits >> (3 * (depth - TYPE_DIGITS - 1)).min(125),
        };
        u8::try_from(bits & 7).unwrap_or(0)
    }

    /// Whether entries of this type may lie under `digit` of a node at `depth` that they may lie under.
    pub(crate) fn shares_type(&self, depth: usize, digit: u8) -> bool {
        match (self.is_member, depth) {
            (true, 0) => digit != OTHERS,
            (true, _) => true,
            (false, _) => depth > TYPE_DIGITS || self.digit(depth) == digit,
        }
    }
}

/// 128 bits of SHA-256 over the secret number, the purpose and the parts, each with its length.
fn keyed(room: u64, purpose: u8, parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update(room.to_be_bytes());
    hasher.update([purpose]);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&hasher.finalize()[..16]);
    u128::from_be_bytes(bits)
}
