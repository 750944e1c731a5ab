//! Owns finding out that events were lost on their way here: the heads of a room are compared with those of another server in
//! it, now and then. Must never take the other server's word for more than that there are events: they are taken over as if it
//! had sent them.
//!
//! The specification has no question for the heads of a room. The draft of a leave tells them, and is never sent.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#get_matrixfederationv1make_leaveroomiduserid>

use std::time::Duration;

use hearth_base::Millis;
use hearth_store::{Batch, CommitError, Direction, View};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::stage::STAGED_IDS;
use crate::{
    Error, Head, Rooms, head::HEADS, member::LOCAL_JOINED, membership::parse_room, queue::MAX_TRIES,
};

/// How many servers of a room are known to choose from.
const KNOWN_SERVERS: usize = 1_000;

/// How many heads another server may have.
const MAX_HEADS: usize = 20;

/// How many rooms are looked through together.
const TOGETHER: usize = 100;

/// How long a room with one head has to be quiet before another server is asked: where others speak, what they say names what
/// was lost.
const QUIET: Duration = Duration::from_secs(30 * 60);

/// How far ahead of this server's clock the newest event may be dated.
const AHEAD: Duration = Duration::from_secs(60);

/// A walk through the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Up to which room it came.
    after: String,
}

impl Rooms {
    /// The next room at which a look at another server may be worth its while, with the walk after it; `None` at the end of
    /// all rooms. Rooms are worth it that other servers are in, and that have several heads or were quiet for half an hour.
    /// Looks at a hundred rooms at most: the room may be missing though there are more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next_to_heal(
        &self,
        walk: &Walk,
    ) -> Result<Option<(Walk, Option<OwnedRoomId>)>, Error> {
        let view = self.0.store.view().await?;
        let range = walk.after.as_str().."\u{10FFFF}";
        let page = view
            .scan(&HEADS, range, Direction::Forward, TOGETHER)
            .await?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        let end = Walk {
            after: format!("{last}\u{1}"),
        };
        for (room_id, head) in page {
            let after = format!("{room_id}\u{1}");
            let room_id = parse_room(room_id)?;
            if self.may_lack(&view, &room_id, &head).await? {
                return Ok(Some((Walk { after }, Some(room_id))));
            }
        }
        Ok(Some((end, None)))
    }

    /// Whether other servers are in a room with this one, and may know of something that is not heard of here.
    async fn may_lack(&self, view: &View, room_id: &RoomId, head: &Head) -> Result<bool, Error> {
        let own = self.server_name();
        if !self.is_server_in_room(view, own, room_id).await?
            || self.servers(view, room_id, 2).await?.len() < 2
        {
            return Ok(false);
        }
        if head.extremities.len() > 1 {
            return Ok(true);
        }
        let now = self.0.clock.now();
        for id in &head.extremities {
            let Some(event) = self.event(view, id).await? else {
                continue;
            };
            let time = Millis(event.pdu.origin_server_ts().0.into());
            // Whoever dates events in the future would keep the room from being looked at.
            if time.after(QUIET) > now && time < now.after(AHEAD) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks another server in the room, one by chance, for its heads, and takes over those that are not known here; what comes
    /// before them is asked for as with any event. Gives how many there were.
    ///
    /// # Errors
    /// `NotFound` for a room in which this server or no other is; `Unreachable` and others when it does not answer; those of
    /// the store.
    pub async fn heal(&self, room_id: &RoomId) -> Result<usize, Error> {
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, room_id).await?;
        let mut servers = self.servers(&view, room_id, KNOWN_SERVERS).await?;
        servers.retain(|server| server != self.server_name());
        let chance = usize::try_from(self.0.rng.number()).unwrap_or_default();
        let server = match servers.len() {
            0 => return Err(Error::not_found("no other server is in the room")),
            count => servers.swap_remove(chance % count),
        };
        let user = self.some_member(&view, room_id).await?;
        let user = user.ok_or_else(|| Error::not_found("nobody of this server is in the room"))?;
        let heads = self.remote()?.heads(&server, room_id, &user).await?;
        let mut unknown = Vec::new();
        for id in heads.into_iter().take(MAX_HEADS) {
            let is_known = self
                .event(&view, &id)
                .await?
                .is_some_and(|e| !e.is_outlier());
            if !is_known && view.get(&STAGED_IDS, id.as_str()).await?.is_none() {
                unknown.push(id);
            }
        }
        self.take_heads(&server, &head, room_id, unknown).await
    }

    /// Takes over events that are heads elsewhere.
    async fn take_heads(
        &self,
        server: &OwnedServerName,
        head: &Head,
        room_id: &RoomId,
        ids: Vec<OwnedEventId>,
    ) -> Result<usize, Error> {
        let mut sent = Vec::with_capacity(ids.len());
        for id in &ids {
            match self.remote()?.event(server, id).await.map_err(Error::from) {
                Ok(event) => sent.push(event),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => tracing::debug!(%room_id, %server, %error, "a head is not given"),
            }
        }
        let mut events = self.read_events(room_id, head.version, &sent).await?;
        events.retain(|id, _| ids.contains(id));
        let mut taken = Vec::with_capacity(events.len());
        let view = self.0.store.view().await?;
        for pdu in events.into_values() {
            match self.refusal(&view, head, server, &pdu).await? {
                None => taken.push(pdu),
                Some(reason) => tracing::debug!(%room_id, %server, reason, "not taken over"),
            }
        }
        if taken.is_empty() {
            return Ok(0);
        }
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let mut batch = Batch::new();
            for pdu in &taken {
                self.plan_stage(&view, &mut batch, server, pdu).await?;
            }
            match self.0.store.commit(batch).await {
                Ok(_) => {
                    self.work_off(room_id);
                    return Ok(taken.len());
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// A user of this server in the room.
    async fn some_member(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Option<OwnedUserId>, Error> {
        let found: Vec<((String, String), ())> = view
            .scan_prefix(&LOCAL_JOINED, (room_id.as_str(),), Direction::Forward, 1)
            .await?;
        let user = found.into_iter().next().map(|((_, user), ())| user);
        user.map(OwnedUserId::try_from)
            .transpose()
            .map_err(|e| Error::corrupt(format!("an index names no user: {e}")))
    }
}

/// The heads that the draft of an event names.
#[must_use]
pub fn heads_of(draft: &RawValue) -> Vec<OwnedEventId> {
    /// In the first room versions an id comes with hashes.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Id(OwnedEventId),
        WithHashes((OwnedEventId, serde::de::IgnoredAny)),
    }
    #[derive(Deserialize)]
    struct Draft {
        prev_events: Vec<Named>,
    }
    let draft = serde_json::from_str::<Draft>(draft.get());
    let named = draft.map_or_else(|_| Vec::new(), |draft| draft.prev_events);
    let ids = named.into_iter().map(|named| match named {
        Named::Id(id) | Named::WithHashes((id, _)) => id,
    });
    ids.collect()
}
