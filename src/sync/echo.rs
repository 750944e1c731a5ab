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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hearth_base::Clock as _;

    use super::*;
    use crate::{Request, tests::House};

    #[tokio::test]
    async fn only_the_device_that_just_sent_waits() {
        let house = House::open();
        let (alice, bob) = (house.account("alice").await, house.account("bob").await);
        let room = house.company(&["alice", "bob"]).await;
        house.say(&room, "alice", "hello").await;
        let answer = house
            .sync
            .sync(alice.clone(), Request::default())
            .await
            .unwrap();
        let now = house.clock.now();
        assert_eq!(head_start(&answer, &alice, now), HEAD_START);
        assert_eq!(
            head_start(&answer, &alice, now.after(RECENT)),
            Duration::ZERO
        );
        assert_eq!(head_start(&answer, &bob, now), Duration::ZERO);
    }
}
