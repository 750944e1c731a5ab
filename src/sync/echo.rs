//! Owns the head start that the answer to a `PUT` has over the echo of its event in `/sync`. Must never hold back what
//! others sent, nor anything for longer than [`HEAD_START`].
//!
//! A client shows what it sends at once, and puts the event in its place when the answer to its `PUT` says its id. The echo
//! in `/sync` carries the transaction id, so that either may come first; but clients are used to servers where the answer
//! does, and some lose track of messages in threads otherwise. Nobody sees the delay: the message is on the screen.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#local-echo>

use std::time::Duration;

use hearth_base::Millis;
use hearth_users::Session;

use crate::Response;

/// By how much the echo comes later than the commit, at which the `PUT` is answered.
const HEAD_START: Duration = Duration::from_millis(50);
/// Older events were not sent just now: their `PUT` was answered long ago.
const RECENT: Duration = Duration::from_secs(1);

/// How long to hold back `answer`.
pub(crate) fn head_start(answer: &Response, session: &Session, now: Millis) -> Duration {
    let timelines = answer.rooms.join.values().map(|room| &room.timeline);
    let newest = timelines
        .flat_map(|timeline| &timeline.events)
        .map(|shown| shown.event())
        .filter(|event| {
            let sent = event.transaction.as_ref();
            sent.is_some_and(|sent| {
                sent.user == session.user_id && sent.device == session.device_id
            })
        })
        .map(|event| Millis(event.pdu.origin_server_ts().get().into()))
        .max();
    match newest {
        Some(newest) if now.since(newest) < RECENT => HEAD_START,
        _ => Duration::ZERO,
    }
}
