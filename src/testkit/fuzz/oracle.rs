//! Owns canonical JSON, redaction and hashes a second time, after the text of the specification and as simply as can be, to
//! compare with. Must never use the code that it judges.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#canonical-json>,
//! <https://spec.matrix.org/latest/rooms/>

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};

use crate::source::MOST;

/// How deep the parser goes at most.
const DEEPEST: usize = 127;

/// A JSON value that canonical JSON can express.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that canonical JSON has no form for. It may stand where a later field of the same name replaces it.
    Odd,
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

pub(crate) type Object = BTreeMap<String, Json>;

impl Json {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// Reads an object; nothing if it is none that canonical JSON can express. Also gives how deep it is nested.
pub(crate) fn read(bytes: &[u8]) -> Option<(Object, usize)> {
    let mut reader = Reader {
        text: std::str::from_utf8(bytes).ok()?.as_bytes(),
        at: 0,
        deepest: 0,
    };
    let value = reader.value(0)?;
    reader.space();
    match value {
        Json::Object(object) if reader.at == reader.text.len() => {
            let is_odd = object.values().any(is_odd);
            (!is_odd).then_some((object, reader.deepest))
        }
        _ => None,
    }
}

fn is_odd(value: &Json) -> bool {
    match value {
        Json::Odd => true,
        Json::List(list) => list.iter().any(is_odd),
        Json::Object(object) => object.values().any(is_odd),
        _ => false,
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    deepest: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied();
        self.at += 1;
        byte
    }

    /// Goes past a byte, if it is there.
    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        let end = self.at + word.len();
        let is_there = self.text.get(self.at..end) == Some(word.as_bytes());
        self.at = end;
        is_there.then_some(value)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match *self.text.get(self.at)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.list(depth + 1),
            b'{' => self.object(depth + 1),
            b'-' | b'0'..=b'9' => self.numeral(),
            _ => None,
        }
    }

    fn enter(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.deepest = self.deepest.max(depth);
        (depth <= DEEPEST).then_some(())
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.enter(depth)?;
        let mut list = Vec::new();
        self.space();
        if self.eat(b']') {
            return Some(Json::List(list));
        }
        loop {
            list.push(self.value(depth)?);
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Some(Json::List(list)),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.enter(depth)?;
        let mut object = Object::new();
        self.space();
        if self.eat(b'}') {
            return Some(Json::Object(object));
        }
        loop {
            self.space();
            if self.text.get(self.at) != Some(&b'"') {
                return None;
            }
            let name = self.string()?;
            self.space();
            if !self.eat(b':') {
                return None;
            }
            object.insert(name, self.value(depth)?);
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(Json::Object(object)),
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<usize> {
        let begin = self.at;
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > begin).then_some(self.at - begin)
    }

    fn numeral(&mut self) -> Option<Json> {
        let begin = self.at;
        let is_negative = self.eat(b'-');
        let zero_first = self.text.get(self.at) == Some(&b'0');
        if self.digits()? > 1 && zero_first {
            return None;
        }
        let mut is_whole = !(is_negative && zero_first);
        if self.eat(b'.') {
            self.digits()?;
            is_whole = false;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'-') {
                self.eat(b'+');
            }
            self.digits()?;
            is_whole = false;
        }
        let text = std::str::from_utf8(&self.text[begin..self.at]).ok()?;
        match text.parse::<i64>() {
            Ok(number) if is_whole && (-MOST..=MOST).contains(&number) => Some(Json::Int(number)),
            _ => text.parse::<f64>().ok()?.is_finite().then_some(Json::Odd),
        }
    }

    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(bytes).ok(),
                b'\\' => {
                    let letter = self.escaped()?;
                    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..0x20 => return None,
                byte => bytes.push(byte),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unit_pair(),
            byte @ (b'"' | b'\\' | b'/') => byte.into(),
            _ => return None,
        })
    }

    fn unit_pair(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first);
        }
        if first >= 0xDC00 || !self.eat(b'\\') || !self.eat(b'u') {
            return None;
        }
        let second = self.unit()?;
        if !(0xDC00..0xE000).contains(&second) {
            return None;
        }
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    fn unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.next()?).to_digit(16)?;
        }
        Some(unit)
    }
}

/// The canonical text.
pub(crate) fn write(object: &Object) -> String {
    let mut text = String::new();
    write_object(object, &mut text);
    text
}

fn write_object(object: &Object, to: &mut String) {
    let mut names: Vec<&String> = object.keys().collect();
    // By code points, which the map's order need not be asked for.
    names.sort_by(|a, b| a.chars().cmp(b.chars()));
    to.push('{');
    for (count, name) in names.into_iter().enumerate() {
        if count > 0 {
            to.push(',');
        }
        write_text(name, to);
        to.push(':');
        write_value(&object[name], to);
    }
    to.push('}');
}

fn write_value(value: &Json, to: &mut String) {
    match value {
        Json::Null | Json::Odd => to.push_str("null"),
        Json::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        Json::Int(number) => to.push_str(&number.to_string()),
        Json::Text(text) => write_text(text, to),
        Json::Object(object) => write_object(object, to),
        Json::List(list) => {
            to.push('[');
            for (count, value) in list.iter().enumerate() {
                if count > 0 {
                    to.push(',');
                }
                write_value(value, to);
            }
            to.push(']');
        }
    }
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for letter in text.chars() {
        match letter {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\0'..' ' => to.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => to.push(letter),
        }
    }
    to.push('"');
}

/// What redaction leaves of an event.
pub(crate) fn redact(event: &Object, version: u32) -> Object {
    let mut kept = vec![
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    ];
    if version < 11 {
        kept.extend(["prev_state", "origin", "membership"]);
    }
    let mut left = only(event, &kept);
    let kind = event.get("type").and_then(Json::text).unwrap_or_default();
    if let Some(content) = event.get("content").and_then(Json::object) {
        let content = redact_content(content, kind, version);
        left.insert("content".to_owned(), Json::Object(content));
    }
    left
}

fn only(object: &Object, names: &[&str]) -> Object {
    let is_kept = |name: &String| names.contains(&name.as_str());
    let kept = object.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn redact_content(content: &Object, kind: &str, version: u32) -> Object {
    let since = |first: u32, name: &'static str| if version >= first { name } else { "" };
    let until = |last: u32, name: &'static str| if version <= last { name } else { "" };
    let kept: &[&str] = match kind {
        "m.room.create" if version >= 11 => return content.clone(),
        "m.room.create" => &["creator"],
        "m.room.member" => &[
            "membership",
            since(9, "join_authorised_via_users_server"),
            since(11, "third_party_invite"),
        ],
        "m.room.join_rules" => &["join_rule", since(8, "allow")],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
            since(11, "invite"),
        ],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.aliases" => &[until(5, "aliases")],
        "m.room.redaction" => &[since(11, "redacts")],
        _ => &[],
    };
    let kept: Vec<&str> = kept
        .iter()
        .copied()
        .filter(|name| !name.is_empty())
        .collect();
    let mut left = only(content, &kept);
    if kind == "m.room.member"
        && let Some(invite) = left.remove("third_party_invite")
        && let Some(invite) = invite.object()
    {
        let signed = only(invite, &["signed"]);
        left.insert("third_party_invite".to_owned(), Json::Object(signed));
    }
    left
}

/// What the server signs of an event, and what its id is a hash of.
pub(crate) fn signed_text(event: &Object, version: u32) -> String {
    let mut redacted = redact(event, version);
    redacted.remove("signatures");
    redacted.remove("unsigned");
    write(&redacted)
}

/// The id of an event of room version 3 or later.
pub(crate) fn event_id(event: &Object, version: u32) -> String {
    let hash = Sha256::digest(signed_text(event, version));
    match version {
        3 => format!("${}", STANDARD_NO_PAD.encode(hash)),
        _ => format!("${}", URL_SAFE_NO_PAD.encode(hash)),
    }
}

/// The hash of the content of an event, in base64.
pub(crate) fn content_hash(event: &Object) -> String {
    let mut event = event.clone();
    for field in ["unsigned", "signatures", "hashes"] {
        event.remove(field);
    }
    STANDARD_NO_PAD.encode(Sha256::digest(write(&event)))
}
