//! Owns the question whether an event passes a filter of the client. Must never decide what a user may see: that is asked
//! of `rooms`.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use hearth_protocol::Pdu;
use ruma::{
    RoomId,
    api::client::filter::{RoomEventFilter, UrlFilter},
};
use serde::{Deserialize, de::IgnoredAny};

/// Whether `pdu` passes `filter`.
pub(crate) fn passes(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    passes_room(filter, pdu.room_id())
        && passes_sender(filter, pdu)
        && passes_type(filter, pdu.event_type())
        && passes_url(filter, pdu)
}

fn passes_room(filter: &RoomEventFilter, room: &RoomId) -> bool {
    !filter.not_rooms.iter().any(|other| other == room)
        && filter
            .rooms
            .as_ref()
            .is_none_or(|rooms| rooms.iter().any(|other| other == room))
}

fn passes_sender(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    let sender = pdu.sender();
    !filter.not_senders.iter().any(|other| other == sender)
        && filter
            .senders
            .as_ref()
            .is_none_or(|senders| senders.iter().any(|other| other == sender))
}

fn passes_type(filter: &RoomEventFilter, event_type: &str) -> bool {
    !filter
        .not_types
        .iter()
        .any(|pattern| matches(pattern, event_type))
        && filter
            .types
            .as_ref()
            .is_none_or(|types| types.iter().any(|pattern| matches(pattern, event_type)))
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

/// Whether `text` is what `pattern` says, where `*` stands for any run of characters. Linear but for the choice of each
/// `*`, which is never taken back further than the last one.
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
    use super::matches;

    #[test]
    fn wildcards_match_runs() {
        assert!(matches("m.room.*", "m.room.message"));
        assert!(matches("*", ""));
        assert!(matches("m.*.x", "m.x.x.x"));
        assert!(!matches("m.*.x", "m.x.x.y"));
        assert!(!matches("m.room", "m.room.message"));
        assert!(matches("m.room.message", "m.room.message"));
    }
}
