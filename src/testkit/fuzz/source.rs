//! Owns the choices of an input: all of them follow from a target and a seed. Must never ask anything else for chance.

use hearth_base::{Rng as _, SeededRng};
use serde_json::{Map, Value};

/// The greatest whole number that canonical JSON can express.
pub(crate) const MOST: i64 = (1 << 53) - 1;

/// Texts at the edges of what programs expect.
const ODD: [&str; 26] = [
    "",
    " ",
    "\0",
    "\u{1f}",
    "\u{7f}",
    "\"",
    "\\",
    "/",
    "ä",
    "é",
    "e\u{301}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "🦀",
    "\u{10ffff}",
    "{}",
    "null",
    "0",
    "-1",
    "9007199254740993",
    "@",
    "@:",
    "$",
    "!x:y",
];

/// Bytes that parsers look at.
const TOKENS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"-",
    b"0",
    b"1e5",
    b".5",
    b"null",
    b"true",
    b"\xff",
    b"\xc3",
    b"\0",
    b"=",
    b"@",
    b"$",
    b"!",
    b"99999999999999999999",
];

/// Names that the rules know.
const NAMES: [&str; 34] = [
    "membership",
    "users",
    "users_default",
    "events",
    "events_default",
    "state_default",
    "ban",
    "kick",
    "redact",
    "invite",
    "creator",
    "additional_creators",
    "room_version",
    "m.federate",
    "join_rule",
    "allow",
    "history_visibility",
    "aliases",
    "redacts",
    "third_party_invite",
    "signed",
    "token",
    "mxid",
    "signatures",
    "join_authorised_via_users_server",
    "body",
    "displayname",
    "type",
    "room_id",
    "public_key",
    "public_keys",
    "predecessor",
    "notifications",
    "hashes",
];

/// Chance that can be repeated.
pub(crate) struct Source {
    rng: SeededRng,
    /// The seed, for names that no other input has.
    pub(crate) seed: u64,
    is_told: bool,
}

impl Source {
    /// The choices of an input.
    pub(crate) fn new(target: usize, seed: u64, is_told: bool) -> Self {
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (target as u64 + 1).rotate_left(56);
        Self {
            rng: SeededRng::new(mixed),
            seed,
            is_told,
        }
    }

    /// Tells people about the input, if it is looked at alone.
    pub(crate) fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            println!("{}", text());
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.rng.number()
    }

    /// A number below `end`, 0 if that is 0.
    pub(crate) fn pick(&self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or(0)
    }

    /// Whether something happens that happens once in so many times.
    pub(crate) fn once_in(&self, times: usize) -> bool {
        self.pick(times) == 0
    }

    /// One of several. There has to be one.
    pub(crate) fn one_of<'a, T: ?Sized>(&self, of: &'a [&'a T]) -> &'a T {
        of[self.pick(of.len())]
    }

    /// Letters and digits.
    pub(crate) fn opaque(&self, length: usize) -> String {
        self.rng.opaque(length)
    }

    /// Puts the entries in any order.
    pub(crate) fn shuffle<T>(&self, entries: &mut [T]) {
        for last in (1..entries.len()).rev() {
            entries.swap(last, self.pick(last + 1));
        }
    }

    /// A whole number, often at an edge.
    pub(crate) fn integer(&self) -> i64 {
        match self.pick(6) {
            0 => [0, 1, -1, 49, 50, 51, 99, 100, 101][self.pick(9)],
            1 => MOST - self.pick(2) as i64,
            2 => self.pick(2) as i64 - MOST,
            3 => self.pick(200) as i64 - 50,
            _ => (self.number() % (2 * MOST as u64)) as i64 - MOST,
        }
    }

    /// A text, mostly short, sometimes odd or long.
    pub(crate) fn text(&self) -> String {
        match self.pick(8) {
            0 => self.one_of(&ODD).to_owned(),
            1 => (0..self.pick(6)).map(|_| self.one_of(&ODD)).collect(),
            2 => self.one_of(&NAMES).to_owned(),
            3 => {
                let letter = self.one_of(&["a", "ä", "🦀"]);
                letter.repeat([250, 254, 255, 256, 300][self.pick(5)] / letter.len().max(1))
            }
            _ => {
                let length = self.pick(12);
                self.opaque(length)
            }
        }
    }

    /// A name of a field, mostly one that the rules know.
    pub(crate) fn name(&self) -> String {
        match self.pick(4) {
            0 => self.text(),
            _ => self.one_of(&NAMES).to_owned(),
        }
    }

    /// Any value that canonical JSON can express, at most so deep.
    pub(crate) fn json(&self, depth: usize) -> Value {
        let kinds = if depth == 0 { 4 } else { 6 };
        match self.pick(kinds) {
            0 => Value::Null,
            1 => self.once_in(2).into(),
            2 => self.integer().into(),
            3 => self.text().into(),
            4 => (0..self.pick(4)).map(|_| self.json(depth - 1)).collect(),
            _ => self.object(depth - 1).into(),
        }
    }

    /// An object of such values.
    pub(crate) fn object(&self, depth: usize) -> Map<String, Value> {
        (0..self.pick(5))
            .map(|_| (self.name(), self.json(depth)))
            .collect()
    }

    /// Spoils some bytes.
    pub(crate) fn spoil(&self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.pick(3) {
            let at = self.pick(bytes.len() + 1);
            match self.pick(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.pick(8),
                1 if at < bytes.len() => bytes[at] = self.number().to_le_bytes()[0],
                2 => bytes.truncate(at),
                3 => {
                    let end = bytes.len().min(at + self.pick(9));
                    bytes.drain(at..end);
                }
                4 => {
                    let end = bytes.len().min(at + self.pick(30));
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => {
                    let token = self.one_of(&TOKENS);
                    bytes.splice(at..at, token.iter().copied());
                }
            }
        }
    }

    /// Changes one value somewhere inside, or takes it out, or adds one.
    pub(crate) fn bend(&self, value: &mut Value) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let Some(name) = map.keys().nth(self.pick(map.len())).cloned() else {
                    return;
                };
                match self.pick(6) {
                    0 => {
                        map.remove(&name);
                    }
                    1 => {
                        map.insert(self.name(), self.json(2));
                    }
                    2 => {
                        map.insert(name, self.json(2));
                    }
                    _ => self.bend(&mut map[&name]),
                }
            }
            Value::Array(list) if !list.is_empty() => {
                let at = self.pick(list.len());
                match self.pick(5) {
                    0 => {
                        list.remove(at);
                    }
                    1 => list.insert(at, self.json(1)),
                    2 => list.insert(at, list[at].clone()),
                    _ => self.bend(&mut list[at]),
                }
            }
            other => *other = self.json(2),
        }
    }
}
