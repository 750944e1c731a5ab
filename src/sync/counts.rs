//! Owns how much of a room a user has not read, by the user's own rules. Must never count by itself what `rooms` keeps
//! totals of.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receiving-notifications>

use std::collections::BTreeMap;

use hearth_rooms::Counts;
use ruma::OwnedEventId;

use crate::{
    Error, Unread,
    rules::{Manner, Rules},
    verdicts,
    window::{Reading, RoomWindow},
};

/// What is unread in a room; with threads told apart, if the client wants that, outside of them and in each.
pub(crate) async fn read(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
) -> Result<(Unread, BTreeMap<OwnedEventId, Unread>), Error> {
    let unread = unread(reading, room).await?;
    if !reading
        .request
        .filter
        .room
        .timeline
        .unread_thread_notifications
    {
        return Ok((unread.all.into(), BTreeMap::new()));
    }
    let threads = unread.threads.into_iter();
    let threads = threads
        .map(|(root, counts)| (root, counts.into()))
        .collect();
    Ok((unread.main.into(), threads))
}

async fn unread(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
) -> Result<hearth_rooms::Unread, Error> {
    let rules = reading.own_rules().await?;
    let manner = rules
        .as_deref()
        .map_or(Manner::Usual, |rules: &Rules| rules.manner(room.id));
    let (view, user, joined_at) = (reading.view, reading.user(), room.member.since);
    match (manner, rules) {
        (Manner::Silent, _) => Ok(hearth_rooms::Unread::default()),
        (Manner::Own, Some(rules)) => {
            let place = (room.id, room.head);
            verdicts::tally(reading.shared, view, (user, &rules), place, joined_at).await
        }
        (manner, _) => {
            let counted = reading
                .rooms()
                .unread(view, user, room.id, room.head, joined_at)
                .await?;
            Ok(match manner {
                Manner::Mentions => mentions_only(counted),
                _ => counted,
            })
        }
    }
}

/// Nothing but highlights notifies.
fn mentions_only(mut unread: hearth_rooms::Unread) -> hearth_rooms::Unread {
    let only = |counts: Counts| Counts {
        notifications: counts.highlights,
        ..counts
    };
    unread.all = only(unread.all);
    unread.main = only(unread.main);
    unread.threads.retain(|_, counts| {
        *counts = only(*counts);
        counts.highlights > 0
    });
    unread
}
