//! Owns the removal of rooms that every user of this server has left and forgotten: the one way in which events, and with
//! them nodes of state trees, become garbage. Must never remove a room in which a user of this server is, is invited, or
//! which one remembers: the head is asserted, and whatever makes somebody part of a room changes it.
//!
//! A lease keeps nodes from doing this at once; and they may stop anywhere: a room is first taken out of sight and noted in [`PURGES`] in
//! one batch; each further step asserts that note and removes a bounded number of records. The note goes last, and no room
//! is made under an id that has one.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#leaving-rooms>

use std::time::Duration;

use hearth_store::{
    Batch, CommitError, Direction, Family, Part, Position, ReadPart, Table, View, leases::Held,
};
use ruma::{EventId, UserId};

use crate::{
    Error, Rooms, StoredEvent,
    alias::{ALIASES, PUBLISHED, ROOM_ALIASES},
    event::EVENTS,
    forks::FORKS,
    head::{HEADS, NUMBERS},
    late_devices::LATE_DEVICES,
    member::{FORGOTTEN, LOCAL_JOINED, MEMBERS, USER_ROOMS},
    partial::{COMPLETED, PARTIAL, PARTIAL_SERVERS, REPLAYS, SHOWN},
    receipt::RECEIPTS,
    receive::{ASIDE, GAPS, REDACTIONS_AHEAD, SHOWN_OUTSIDE, STAGED, STAGED_IDS},
    relation::{ANNOTATIONS, RELATIONS, THREAD_ORDER, THREAD_USERS, THREADS},
    search::WORDS,
    servers::{REMOTE_JOINED, ROOM_SERVERS},
    signal::{DEVICE_SIGNALLED, SIGNALLED, SIGNALS},
    state::NODES,
    timeline::{DEPTHS, EDGES, TIMELINE, parse_id},
    transaction::{TRANSACTIONS, path_of},
    unread::{HIGHLIGHTS, LAST_SENT, THREAD_EVENTS},
};

/// (when, room) of each time that a user forgot a room, in milliseconds since the epoch: the rooms that may have nobody left.
pub(crate) const FORSAKEN: Table<(u64, String), ()> = Table::new(112, "forsaken", Family::Index);

/// Room to when a user last forgot it.
pub(crate) const FORSAKEN_AT: Table<String, u64> = Table::new(113, "forsaken_at", Family::Records);

/// Room that is being removed to its number, and up to where its events are gone.
pub(crate) const PURGES: Table<String, (u64, Position)> =
    Table::new(114, "room_purges", Family::Index);

/// How many records a step removes, about.
const STEP: usize = 500;

/// How many events a step removes, each of which has some records.
const EVENTS_TOGETHER: usize = 100;

/// How many members are looked at together.
const MEMBERS_TOGETHER: usize = 1000;

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeStep {
    /// How many records it removed.
    pub records: usize,
    /// The room of which nothing is left now.
    pub removed: Option<String>,
    /// Whether there is more to do at once.
    pub has_more: bool,
}

/// Notes in `batch` that a user forgets a room.
pub(crate) fn note_forgotten(batch: &mut Batch, room_id: &str, now: u64) {
    batch.put(&FORSAKEN, (now, room_id), ());
    batch.put(&FORSAKEN_AT, room_id, now);
}

impl Rooms {
    /// Does a bounded piece of the removal of rooms that nobody here has remembered for `kept_for`, under `lease`. To be called
    /// again at once while there is more to do.
    ///
    /// # Errors
    /// Those of the store. The next step goes on from where this one was.
    pub async fn purge_step(&self, kept_for: Duration, lease: &Held) -> Result<PurgeStep, Error> {
        let view = self.0.store.view().await?;
        let begun = view.scan(&PURGES, ""..LAST, Direction::Forward, 1).await?;
        if let Some((room_id, begun)) = begun.into_iter().next() {
            return self.purge_some(&view, &room_id, begun, lease).await;
        }
        let oldest = view
            .scan(&FORSAKEN, (0,)..(u64::MAX,), Direction::Forward, 1)
            .await?;
        let Some(((time, room_id), ())) = oldest.into_iter().next() else {
            return Ok(PurgeStep::default());
        };
        let kept_for = u64::try_from(kept_for.as_millis()).unwrap_or(u64::MAX);
        if time.saturating_add(kept_for) > self.0.clock.now().0 {
            return Ok(PurgeStep::default());
        }
        let batch = self.plan_decision(&view, time, &room_id).await?;
        self.commit_step(batch, lease).await
    }

    /// Whether a room in which nobody may be left is to be removed: if so, it is taken out of sight.
    async fn plan_decision(&self, view: &View, time: u64, room_id: &str) -> Result<Batch, Error> {
        let mut batch = Batch::new();
        batch.delete(&FORSAKEN, (time, room_id));
        let last = view.get(&FORSAKEN_AT, room_id).await?;
        if last.is_some_and(|last| last > time) {
            // Another forgot it later, which is looked at in its turn.
            return Ok(batch);
        }
        batch.assert_unchanged(&FORSAKEN_AT, room_id, last);
        batch.delete(&FORSAKEN_AT, room_id);
        let Some(head) = view.get(&HEADS, room_id).await? else {
            return Ok(batch);
        };
        if self.is_remembered(view, room_id).await? {
            return Ok(batch);
        }
        batch.assert_equals(&HEADS, room_id, &head);
        batch.delete(&HEADS, room_id);
        batch.delete(&PARTIAL, room_id);
        batch.delete(&COMPLETED, room_id);
        batch.put(&PURGES, room_id, (head.number, Position::ZERO));
        batch.delete(&PUBLISHED, room_id);
        let room_aliases: Vec<((String, String), ())> = view
            .scan_prefix(&ROOM_ALIASES, (room_id,), Direction::Forward, STEP)
            .await?;
        for ((_, alias), ()) in room_aliases {
            if let Some(target) = view.get(&ALIASES, alias.as_str()).await?
                && target.room_id == room_id
            {
                batch.assert_equals(&ALIASES, alias.as_str(), &target);
                batch.delete(&ALIASES, alias.as_str());
            }
        }
        Ok(batch)
    }

    /// Whether a user of this server is in the room, invited or knocking, or left and did not forget it.
    async fn is_remembered(&self, view: &View, room_id: &str) -> Result<bool, Error> {
        let joined: Vec<((String, String), ())> = view
            .scan_prefix(&LOCAL_JOINED, (room_id,), Direction::Forward, 1)
            .await?;
        if !joined.is_empty() {
            return Ok(true);
        }
        let mut from = String::new();
        loop {
            let range = (room_id, from.as_str())..(room_id, LAST);
            let page = view
                .scan(&MEMBERS, range, Direction::Forward, MEMBERS_TOGETHER)
                .await?;
            let is_last = page.len() < MEMBERS_TOGETHER;
            let users: Vec<_> = page.into_iter().map(|((_, user), _)| user).collect();
            let local = users.iter().filter(|user| self.is_of_this_server(user));
            let keys = local.map(|user| (user.as_str(), room_id));
            let remembered = view.get_many(&USER_ROOMS, keys).await?;
            if remembered.iter().any(Option::is_some) {
                return Ok(true);
            }
            match users.last() {
                // The lowest letter that a user id may hold is above this one.
                Some(last) if !is_last => from = format!("{last}\u{1}"),
                _ => return Ok(false),
            }
            tokio::task::yield_now().await;
        }
    }

    fn is_of_this_server(&self, user: &str) -> bool {
        <&UserId>::try_from(user).is_ok_and(|user| self.is_local(user))
    }

    /// Removes some of what is left of a room that is out of sight; the note of it, if nothing is left.
    async fn purge_some(
        &self,
        view: &View,
        room_id: &str,
        (number, after): (u64, Position),
        lease: &Held,
    ) -> Result<PurgeStep, Error> {
        let mut batch = Batch::new();
        batch.assert_equals(&PURGES, room_id, (number, after));
        self.clear_events(view, &mut batch, room_id, (number, after))
            .await?;
        self.clear_members(view, &mut batch, room_id).await?;
        clear(view, &mut batch, &DEPTHS, (room_id,)).await?;
        clear(view, &mut batch, &EDGES, (room_id,)).await?;
        clear(view, &mut batch, &FORKS, (room_id,)).await?;
        clear(view, &mut batch, &GAPS, (room_id,)).await?;
        clear(view, &mut batch, &SHOWN_OUTSIDE, (room_id,)).await?;
        clear_staged(view, &mut batch, room_id).await?;
        self.clear_aside(view, &mut batch, room_id).await?;
        clear(view, &mut batch, &RELATIONS, (room_id,)).await?;
        clear(view, &mut batch, &THREADS, (room_id,)).await?;
        clear(view, &mut batch, &THREAD_ORDER, (room_id,)).await?;
        clear(view, &mut batch, &THREAD_EVENTS, (room_id,)).await?;
        clear(view, &mut batch, &HIGHLIGHTS, (room_id,)).await?;
        clear(view, &mut batch, &LAST_SENT, (room_id,)).await?;
        clear(view, &mut batch, &RECEIPTS, (room_id,)).await?;
        clear(view, &mut batch, &SIGNALS, (room_id,)).await?;
        clear(view, &mut batch, &DEVICE_SIGNALLED, (room_id,)).await?;
        clear(view, &mut batch, &ROOM_ALIASES, (room_id,)).await?;
        clear(view, &mut batch, &ROOM_SERVERS, (room_id,)).await?;
        clear(view, &mut batch, &PARTIAL_SERVERS, (room_id,)).await?;
        clear(view, &mut batch, &REPLAYS, (room_id,)).await?;
        clear(view, &mut batch, &SHOWN, (room_id,)).await?;
        clear(view, &mut batch, &LATE_DEVICES, (room_id,)).await?;
        if !batch.writes.is_empty() {
            return self.commit_step(batch, lease).await;
        }
        // Nobody else ever has this number, so this needs no assertion.
        self.0.store.delete_prefix(&NODES, (number,)).await?;
        self.0.store.delete_prefix(&WORDS, (number,)).await?;
        batch.delete(&SIGNALLED, room_id);
        batch.delete(&NUMBERS, number);
        batch.delete(&PURGES, room_id);
        let mut step = self.commit_step(batch, lease).await?;
        step.removed = (step.records > 0).then(|| room_id.to_owned());
        Ok(step)
    }

    /// Removes events from the oldest on, each with what is kept under its id.
    async fn clear_events(
        &self,
        view: &View,
        batch: &mut Batch,
        room_id: &str,
        (number, after): (u64, Position),
    ) -> Result<(), Error> {
        // From where the last step was: what it removed is costly to go past.
        let range = (room_id, after.next())..(room_id, Position::MAX);
        let page: Vec<((String, Position), String)> = view
            .scan(&TIMELINE, range, Direction::Forward, EVENTS_TOGETHER)
            .await?;
        for ((_, position), id) in page {
            clear(view, batch, &ANNOTATIONS, (id.as_str(),)).await?;
            clear(view, batch, &THREAD_USERS, (id.as_str(),)).await?;
            if batch.writes.len() >= STEP {
                return Ok(());
            }
            if let Some(record) = view.get(&EVENTS, id.as_str()).await? {
                let event_id = EventId::parse(&id).map_err(|e| Error::corrupt(e.to_string()))?;
                let event = record.read_as(event_id)?;
                clear_event(batch, room_id, &event);
                self.0.events.forget(event.event_id());
            }
            clear(view, batch, &RELATIONS, (room_id, id.as_str())).await?;
            batch.delete(&EVENTS, id.as_str());
            batch.delete(&TIMELINE, (room_id, position));
            batch.put(&PURGES, room_id, (number, position));
        }
        Ok(())
    }

    async fn clear_members(
        &self,
        view: &View,
        batch: &mut Batch,
        room_id: &str,
    ) -> Result<(), Error> {
        let limit = STEP.saturating_sub(batch.writes.len());
        let page = view
            .scan_prefix(&MEMBERS, (room_id,), Direction::Forward, limit)
            .await?;
        for ((_, user), member) in page {
            let user = user.as_str();
            batch.delete(&MEMBERS, (room_id, user));
            batch.delete(&REMOTE_JOINED, (user, room_id));
            if self.is_of_this_server(user) {
                batch.delete(&FORGOTTEN, (user, member.position, room_id));
            }
        }
        Ok(())
    }

    /// Removes events that were not allowed.
    async fn clear_aside(
        &self,
        view: &View,
        batch: &mut Batch,
        room_id: &str,
    ) -> Result<(), Error> {
        let limit = STEP.saturating_sub(batch.writes.len());
        let page: Vec<((String, Position), String)> = view
            .scan_prefix(&ASIDE, (room_id,), Direction::Forward, limit)
            .await?;
        for ((_, position), id) in page {
            self.0.events.forget(&parse_id(id.clone())?);
            batch.delete(&EVENTS, id.as_str());
            batch.delete(&ASIDE, (room_id, position));
        }
        Ok(())
    }

    async fn commit_step(&self, mut batch: Batch, lease: &Held) -> Result<PurgeStep, Error> {
        let records = batch.writes.len();
        lease.assert(&mut batch);
        let done = match self.0.store.commit(batch).await {
            Ok(_) => records,
            // The lease is another node's by now, or somebody came back: the next step sees how it is now.
            Err(CommitError::Conflict) => 0,
            Err(CommitError::Failed(error)) => return Err(error.into()),
        };
        Ok(PurgeStep {
            records: done,
            removed: None,
            has_more: true,
        })
    }
}

/// Removes what stands under the places and the neighbours of an event.
fn clear_event(batch: &mut Batch, room_id: &str, event: &StoredEvent) {
    let (id, depth, position) = (event.event_id(), event.pdu.depth().0, event.position);
    batch.delete(&DEPTHS, (room_id, depth, position));
    batch.delete(&THREAD_EVENTS, (room_id, position));
    batch.delete(&REDACTIONS_AHEAD, id.as_str());
    if let Some(target) = event.pdu.redacts() {
        batch.delete(&REDACTIONS_AHEAD, target.as_str());
    }
    for parent in event.pdu.prev_events() {
        batch.delete(&EDGES, (room_id, parent.as_str(), id.as_str()));
    }
    if let Some(made_by) = &event.transaction {
        // A redaction may have come on either path.
        for target in [None, event.pdu.redacts()] {
            let path = path_of(event.pdu.event_type(), target);
            batch.delete(&TRANSACTIONS, made_by.key(room_id, &path));
        }
    }
}

/// Removes events that were not worked off.
async fn clear_staged(view: &View, batch: &mut Batch, room_id: &str) -> Result<(), Error> {
    let limit = STEP.saturating_sub(batch.writes.len());
    if limit > 0 {
        let found = view
            .scan_prefix(&STAGED, (room_id,), Direction::Forward, limit)
            .await?;
        for ((_, position), staged) in found {
            batch.delete(&STAGED, (room_id, position));
            batch.delete(&STAGED_IDS, staged.event_id.as_str());
        }
    }
    Ok(())
}

/// Above every room id and user id.
pub(crate) const LAST: &str = "\u{10FFFF}";

/// Removes records whose keys start with `prefix`, as many as a step has room for.
async fn clear<K: Part + ReadPart, V: Part + ReadPart>(
    view: &View,
    batch: &mut Batch,
    table: &Table<K, V>,
    prefix: impl Part,
) -> Result<(), Error> {
    let limit = STEP.saturating_sub(batch.writes.len());
    if limit > 0 {
        let found = view
            .scan_prefix(table, prefix, Direction::Forward, limit)
            .await?;
        for (key, _) in found {
            batch.delete(table, key);
        }
    }
    Ok(())
}
