//! Owns what the default push rules make of an event as such: whether it counts as unread, and which names are in its text.
//! Must never look at who is in the room.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::borrow::Cow;

use hearth_protocol::Pdu;
use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;

/// How many words of a message are looked up as names.
const MAX_NAMES: usize = 64;

/// Whether the default push rules count an event as unread.
pub(crate) fn counts(pdu: &Pdu) -> bool {
    match pdu.event_type() {
        _ if pdu.is_state() => is_tombstone(pdu),
        "m.room.encrypted" | "m.call.invite" => true,
        "m.room.message" => Text::of(pdu).msgtype != "m.notice",
        _ => false,
    }
}

/// Whether the event says that its room is replaced.
pub(crate) fn is_tombstone(pdu: &Pdu) -> bool {
    pdu.is("m.room.tombstone", "")
}

/// What a message says.
#[derive(Default, Deserialize)]
pub(crate) struct Text<'a> {
    #[serde(borrow, default)]
    pub(crate) msgtype: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) body: Cow<'a, str>,
}

impl<'a> Text<'a> {
    /// Empty for what is no message.
    pub(crate) fn of(pdu: &'a Pdu) -> Self {
        if pdu.event_type() != "m.room.message" {
            return Self::default();
        }
        serde_json::from_str(pdu.content().get()).unwrap_or_default()
    }
}

/// The users of `server` whose localpart may be a word of the text: the words themselves, and runs of letters of which
/// localparts are made.
pub(crate) fn names_in(text: &str, server: &ServerName) -> Vec<OwnedUserId> {
    let text = text.to_lowercase();
    let in_localpart =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c);
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let runs = text.split(|c| !in_localpart(c)).flat_map(|run| {
        let whole = run.trim_matches(|c| !in_word(c));
        std::iter::once(whole).chain(whole.split(|c| !in_word(c)))
    });
    let mut names: Vec<&str> = Vec::new();
    for name in runs.filter(|name| !name.is_empty()) {
        if names.len() == MAX_NAMES {
            break;
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let users = names.into_iter();
    users
        .filter_map(|name| UserId::parse(format!("@{name}:{server}")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::names_in;

    #[test]
    fn names_are_words_of_the_text() {
        let found = names_in("Hi @user-1:here, Bob. and bo-b!", server_name!("here"));
        let found: Vec<_> = found.iter().map(|user| user.localpart()).collect();
        for name in ["user-1", "bob", "bo-b"] {
            assert!(found.contains(&name), "{name} in {found:?}");
        }
        assert!(!found.contains(&"us"));
        assert!(names_in("", server_name!("here")).is_empty());
    }
}
