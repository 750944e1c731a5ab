//! Owns the question whether something passes a filter of the client. Must never decide what a user may see: that is asked
//! of `rooms`.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use hearth_protocol::Pdu;
use ruma::{
    RoomId, UserId,
    api::client::filter::{Filter, RoomEventFilter, RoomFilter, UrlFilter},
};
use serde::{Deserialize, de::IgnoredAny};

/// Whether the filter lets anything of this room through.
pub(crate) fn passes_room(filter: &RoomFilter, room: &RoomId) -> bool {
    listed(filter.rooms.as_deref(), &filter.not_rooms, room)
}

/// Whether the filter of one section lets anything of this room through.
pub(crate) fn passes_section(filter: &RoomEventFilter, room: &RoomId) -> bool {
    listed(filter.rooms.as_deref(), &filter.not_rooms, room)
}

/// Whether an event passes, its room included: for pages of history, which have the same filters as `/sync`.
#[must_use]
pub fn passes_filter(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    passes_section(filter, pdu.room_id()) && passes_event(filter, pdu)
}

/// Whether an event passes, its room aside.
pub(crate) fn passes_event(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    passes_type(filter, pdu.event_type())
        && listed(filter.senders.as_deref(), &filter.not_senders, pdu.sender())
        && passes_url(filter, pdu)
}

/// Whether events of this type pass.
pub(crate) fn passes_type(filter: &RoomEventFilter, event_type: &str) -> bool {
    typed(filter.types.as_deref(), &filter.not_types, event_type)
}

/// Whether something outside of rooms, of this type and (where it has one) of this sender, passes.
pub(crate) fn passes(filter: &Filter, event_type: &str, sender: Option<&UserId>) -> bool {
    typed(filter.types.as_deref(), &filter.not_types, event_type)
        && sender
            .is_none_or(|sender| listed(filter.senders.as_deref(), &filter.not_senders, sender))
}

fn listed<T: PartialEq<S>, S: ?Sized>(wanted: Option<&[T]>, unwanted: &[T], what: &S) -> bool {
    !unwanted.iter().any(|other| other == what)
        && wanted.is_none_or(|wanted| wanted.iter().any(|other| other == what))
}

fn typed(wanted: Option<&[String]>, unwanted: &[String], event_type: &str) -> bool {
    !unwanted.iter().any(|pattern| matches(pattern, event_type))
        && wanted.is_none_or(|wanted| wanted.iter().any(|pattern| matches(pattern, event_type)))
}

fn passes_url(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content {
        url: Option<IgnoredAny>,
    }
    let Some(wanted) = filter.url_filter else {
        return true;
    };
    let has_url = serde_json::from_str::<Content>(pdu.content().get())
        .is_ok_and(|content| content.url.is_some());
    has_url == (wanted == UrlFilter::EventsWithUrl)
}

/// Whether `text` is what `pattern` says, where `*` stands for any run of characters. Goes back to the last `*` only, so
/// that no pattern is slow.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            star = Some((at_pattern, at_text));
            at_pattern += 1;
        } else if pattern.get(at_pattern) == text.get(at_text) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some((at_star, resumed)) = star {
            star = Some((at_star, resumed + 1));
            at_pattern = at_star + 1;
            at_text = resumed + 1;
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::{matches, typed};

    #[test]
    fn wildcards_stand_for_runs() {
        assert!(matches("m.room.*", "m.room.message"));
        assert!(matches("*", ""));
        assert!(matches("m.*.x", "m.x.x.x"));
        assert!(!matches("m.*.x", "m.x.x.y"));
        assert!(!matches("m.room", "m.room.message"));
        assert!(matches("m.room.message", "m.room.message"));
    }

    #[test]
    fn what_is_unwanted_wins() {
        let (all, none) = (["m.*".to_owned()], [String::from("m.a")]);
        assert!(typed(Some(&all), &none, "m.b"));
        assert!(!typed(Some(&all), &none, "m.a"));
        assert!(!typed(Some(&all), &[], "x"));
        assert!(!typed(Some(&[]), &[], "m.b"));
        assert!(typed(None, &none, "x"));
    }
}
