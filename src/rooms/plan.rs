//! Owns the plan of a batch: a group of events for one room, each planned on the state that the former leave behind, none
//! of it visible before the commit. Must never be committed twice, nor after a conflict: a plan is made anew.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#authorization-rules>

use std::{collections::HashMap, sync::Arc};

use hearth_protocol::{
    Depth, Draft, Pdu, RoomVersion, auth_types, check_auth_events, check_state, reference_hash,
    seal,
};
use hearth_store::{Batch, Committed, Moment, Position, Topic, View};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, UInt, UserId,
};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::{
    Error, Head, Member, Rooms, StoredEvent, Transaction,
    event::{EVENTS, EventRecord},
    head::{HEADS, NUMBERS},
    member::MEMBERS,
    partial::Partial,
    purge::PURGES,
    relation::Thread,
    state::{Change, Overlay, Root, Which},
    tail::Added,
    timeline::{DEPTHS, EDGES, TIMELINE},
    transaction::TRANSACTIONS,
};

/// An event that is to be.
pub(crate) struct Proposal {
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Box<RawValue>,
    pub(crate) redacts: Option<OwnedEventId>,
    /// The request, and its path ([`crate::transaction::path_of`]), for one that may be repeated.
    pub(crate) transaction: Option<(Transaction, String)>,
    pub(crate) timestamp: Option<MilliSecondsSinceUnixEpoch>,
}

/// A group of events on its way to a batch.
pub(crate) struct Plan {
    pub(crate) rooms: Rooms,
    pub(crate) view: View,
    pub(crate) batch: Batch,
    /// `None` until the create event of a new room gives it an id.
    pub(crate) room_id: Option<OwnedRoomId>,
    /// The head as it was read, which the commit asserts.
    pub(crate) seen: Option<Head>,
    /// How many milliseconds ahead of the clock its events are dated.
    pub(crate) shift: u64,
    /// The head after the events so far.
    pub(crate) head: Head,
    /// Whether other servers are in the room at this point of the plan, as far as that was asked.
    pub(crate) is_shared_now: bool,
    pub(crate) overlay: Overlay,
    pub(crate) fresh: HashMap<OwnedEventId, Arc<StoredEvent>>,
    pub(crate) redacted: HashMap<OwnedEventId, Arc<StoredEvent>>,
    pub(crate) members: HashMap<OwnedUserId, Member>,
    pub(crate) threads: HashMap<OwnedEventId, Option<Thread>>,
    pub(crate) annotations: HashMap<String, bool>,
    transactions: HashMap<(Transaction, String), OwnedEventId>,
    /// What joins the timeline.
    pub(crate) added: Added,
    /// Whether other servers were in the room before, once it was asked.
    pub(crate) had_others: OnceCell<bool>,
    /// What is known of the completion of the room, while its members are not known.
    pub(crate) partial: Option<Partial>,
    /// Whether events are received again, over the whole state.
    pub(crate) is_replaying: bool,
    /// States that are no event's, of which the nodes are written too.
    pub(crate) kept_roots: Vec<Root>,
}

impl Plan {
    /// A plan for a room that is there.
    pub(crate) async fn open(rooms: &Rooms, room_id: OwnedRoomId) -> Result<Option<Self>, Error> {
        let view = rooms.0.store.view().await?;
        let Some(head) = rooms.head(&view, &room_id).await? else {
            return Ok(None);
        };
        let partial = rooms.partial(&view, &room_id, &head).await?;
        let mut plan = Self::over(rooms, view, Some(room_id), Some(head.clone()), head);
        plan.partial = partial;
        Ok(Some(plan))
    }

    /// A plan for a new room, whose id is given unless the version makes it from the create event.
    pub(crate) async fn create(
        rooms: &Rooms,
        version: RoomVersion,
        room_id: Option<OwnedRoomId>,
    ) -> Result<Self, Error> {
        let view = rooms.0.store.view().await?;
        let head = Head {
            version,
            // Halved: the end of a range over a room's nodes is the next number.
            number: rooms.0.rng.number() >> 1,
            position: Position::ZERO,
            depth: Depth(0),
            state: Root::EMPTY,
            joined: 0,
            invited: 0,
            counted: 0,
            extremities: Vec::new(),
        };
        Ok(Self::over(rooms, view, room_id, None, head))
    }

    fn over(
        rooms: &Rooms,
        view: View,
        room_id: Option<OwnedRoomId>,
        seen: Option<Head>,
        head: Head,
    ) -> Self {
        Self {
            rooms: rooms.clone(),
            view,
            batch: Batch::new(),
            room_id,
            seen,
            shift: 0,
            head,
            is_shared_now: false,
            overlay: Overlay::default(),
            fresh: HashMap::new(),
            redacted: HashMap::new(),
            members: HashMap::new(),
            threads: HashMap::new(),
            annotations: HashMap::new(),
            transactions: HashMap::new(),
            added: Added::default(),
            had_others: OnceCell::new(),
            partial: None,
            is_replaying: false,
            kept_roots: Vec::new(),
        }
    }

    /// Whether nothing was planned.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// The id of the room, which a plan with events always has.
    pub(crate) fn room_id(&self) -> &str {
        self.room_id.as_ref().map_or("", |id| id.as_str())
    }

    /// An event of this plan or of the store.
    pub(crate) async fn event(&self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        if let Some(event) = self.redacted.get(id).or_else(|| self.fresh.get(id)) {
            return Ok(Some(event.clone()));
        }
        self.rooms.event(&self.view, id).await
    }

    /// As [`Plan::event`], for an event that the plan may change.
    pub(crate) async fn stored_event(
        &self,
        id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        if let Some(event) = self.redacted.get(id).or_else(|| self.fresh.get(id)) {
            return Ok(Some(event.clone()));
        }
        self.rooms.stored_event(&self.view, id).await
    }

    /// The current event at a type and a state key.
    pub(crate) async fn state(
        &self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        self.state_in(self.head.state, event_type, state_key).await
    }

    /// The event at a type and a state key of a state, those of this plan included.
    pub(crate) async fn state_in(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some(id) = self.state_id(root, event_type, state_key).await? else {
            return Ok(None);
        };
        self.known_event(&id).await.map(Some)
    }

    /// The id of the event at a type and a state key of a state.
    pub(crate) async fn state_id(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<OwnedEventId>, Error> {
        let (tree, number) = (&self.rooms.0.tree, self.head.number);
        let nodes = (&self.view, &self.overlay);
        Ok(tree.get(nodes, number, root, event_type, state_key).await?)
    }

    /// Type, state key and event id of all entries of a state.
    pub(crate) async fn state_ids(
        &self,
        root: Root,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        let (tree, number) = (&self.rooms.0.tree, self.head.number);
        let nodes = (&self.view, &self.overlay);
        Ok(tree.scan(nodes, number, root, Which::All).await?)
    }

    /// What differs in the state `new` from the state `old`.
    pub(crate) async fn differences(&self, old: Root, new: Root) -> Result<Vec<Change>, Error> {
        let (tree, number) = (&self.rooms.0.tree, self.head.number);
        let nodes = (&self.view, &self.overlay);
        Ok(tree.diff(nodes, number, old, new).await?)
    }

    /// The state that follows from `root` by `changes`.
    pub(crate) async fn updated(
        &mut self,
        root: Root,
        changes: &[crate::StateChange],
    ) -> Result<Root, Error> {
        let (tree, number) = (&self.rooms.0.tree, self.head.number);
        let overlay = &mut self.overlay;
        Ok(tree
            .update(&self.view, overlay, number, root, changes)
            .await?)
    }

    /// The head of the room, if this plan leaves its state and its members as they are in the store.
    pub(crate) fn unmoved(&self) -> Option<&Head> {
        let seen = self.seen.as_ref()?;
        (seen.state == self.head.state && self.members.is_empty()).then_some(seen)
    }

    /// The current membership of a user.
    pub(crate) async fn member(&self, user: &UserId) -> Result<Option<Member>, Error> {
        if let Some(member) = self.members.get(user) {
            return Ok(Some(member.clone()));
        }
        Ok(self
            .view
            .get(&MEMBERS, (self.room_id(), user.as_str()))
            .await?)
    }

    /// As [`Plan::member`], of several users at once.
    pub(crate) async fn members_among(
        &self,
        users: &[OwnedUserId],
    ) -> Result<Vec<Option<Member>>, Error> {
        let keys = users.iter().map(|user| (self.room_id(), user.as_str()));
        let mut members = self.view.get_many(&MEMBERS, keys).await?;
        for (user, member) in users.iter().zip(&mut members) {
            if let Some(changed) = self.members.get(user) {
                *member = Some(changed.clone());
            }
        }
        Ok(members)
    }

    /// The event that this transaction made already.
    pub(crate) async fn repeated(
        &self,
        transaction: Option<&(Transaction, String)>,
    ) -> Result<Option<OwnedEventId>, Error> {
        let (Some(transaction), Some(room_id)) = (transaction, &self.room_id) else {
            return Ok(None);
        };
        if let Some(id) = self.transactions.get(transaction) {
            return Ok(Some(id.clone()));
        }
        let (transaction, path) = transaction;
        self.rooms
            .transaction(&self.view, room_id, path, transaction)
            .await
    }

    /// Adds an event, if the rules allow it in the current state.
    pub(crate) async fn add(&mut self, proposal: Proposal) -> Result<Arc<StoredEvent>, Error> {
        let transaction = proposal.transaction.clone();
        let pdu = self.authorised(proposal).await?;
        let pdu = self.recommended(pdu).await?;
        let effects = self.foresee(&pdu, true).await?;
        let is_for_others = self.is_for_others(&pdu).await?;
        let state_before = self.head.state;
        let state_after = match pdu.state_key() {
            Some(state_key) => {
                let change = (
                    pdu.event_type().to_owned(),
                    state_key.to_owned(),
                    Some(pdu.event_id().to_owned()),
                );
                self.updated(state_before, &[change]).await?
            }
            None => state_before,
        };
        // From here on nothing fails, so that a refused event leaves no trace in the plan.
        let position = self.batch.position();
        self.room_id.get_or_insert_with(|| pdu.room_id().to_owned());
        self.head.counted += u64::from(effects.counts);
        self.head.state = state_after;
        self.head.position = position;
        self.head.depth = pdu.depth();
        self.head.extremities = vec![pdu.event_id().to_owned()];
        let event = Arc::new(StoredEvent {
            version: self.head.version,
            position,
            state_before,
            state_after,
            counted: self.head.counted,
            soft_failed: false,
            redacted_by: None,
            transaction: transaction.clone().map(|(transaction, _)| transaction),
            pdu,
        });
        if let Some(transaction) = transaction {
            self.remember(transaction, event.event_id().to_owned());
        }
        self.write_event(&event);
        self.note_replay(&event, false);
        if is_for_others {
            self.send_out(&event.pdu, position);
        }
        self.is_shared_now = is_for_others;
        self.apply(&event, effects);
        self.fresh
            .insert(event.event_id().to_owned(), event.clone());
        Ok(event)
    }

    /// Remembers which event a transaction made.
    fn remember(&mut self, transaction: (Transaction, String), event_id: OwnedEventId) {
        let room_id = self.room_id().to_owned();
        let key = transaction.0.key(&room_id, &transaction.1);
        self.batch.assert_absent(&TRANSACTIONS, key);
        self.batch.put(&TRANSACTIONS, key, event_id.as_str());
        self.transactions.insert(transaction, event_id);
    }

    /// Signs the event and asks the rules.
    pub(crate) async fn authorised(&self, proposal: Proposal) -> Result<Pdu, Error> {
        let version = self.head.version;
        let types = auth_types(
            &proposal.event_type,
            &proposal.sender,
            proposal.state_key.as_deref(),
            &proposal.content,
            version,
        )?;
        let mut state = HashMap::with_capacity(types.len() + 1);
        for (event_type, state_key) in types {
            if let Some(event) = self.state(&event_type, &state_key).await? {
                state.insert((event_type, state_key), event.pdu.clone());
            }
        }
        let auth_events: Vec<_> = state
            .values()
            .map(|pdu| pdu.event_id().to_owned())
            .collect();
        let create = ("m.room.create".to_owned(), String::new());
        if !state.contains_key(&create)
            && let Some(event) = self.state(&create.0, "").await?
        {
            state.insert(create, event.pdu.clone());
        }
        let pdu = self.sealed(proposal, auth_events, &state).await?;
        check_auth_events(version, &pdu, |id| {
            state.values().find(|pdu| pdu.event_id() == id).cloned()
        })?;
        check_state(version, &pdu, |event_type, state_key| {
            state
                .get(&(event_type.to_owned(), state_key.to_owned()))
                .cloned()
        })?;
        Ok(pdu)
    }

    async fn sealed(
        &self,
        proposal: Proposal,
        auth_events: Vec<OwnedEventId>,
        state: &HashMap<(String, String), Pdu>,
    ) -> Result<Pdu, Error> {
        let version = self.head.version;
        let shared = &self.rooms.0;
        let now =
            MilliSecondsSinceUnixEpoch(UInt::new_saturating(shared.clock.now().0 + self.shift));
        let timestamp = proposal.timestamp.unwrap_or(now);
        let mut draft = Draft::new(
            proposal.sender,
            proposal.event_type,
            proposal.content,
            timestamp,
        );
        draft.room_id = self.room_id.clone();
        draft.state_key = proposal.state_key;
        draft.redacts = proposal.redacts;
        draft.depth = self.head.depth.next();
        draft.prev_events = self.head.extremities.clone();
        draft.auth_events = auth_events;
        if version.has_explicit_event_ids() {
            draft.local_id = shared.rng.opaque(24);
            for pdu in state.values() {
                let hash = reference_hash(pdu, version)?;
                draft
                    .reference_hashes
                    .push((pdu.event_id().to_owned(), hash));
            }
            for id in &self.head.extremities {
                if let Some(event) = self.event(id).await? {
                    let hash = reference_hash(&event.pdu, version)?;
                    draft.reference_hashes.push((id.clone(), hash));
                }
            }
        }
        Ok(seal(draft, version, &shared.key)?)
    }

    /// The event itself and the indexes that lead to it.
    pub(crate) fn write_event(&mut self, event: &StoredEvent) {
        let room_id = event.pdu.room_id().as_str();
        let (id, position) = (event.event_id().as_str(), event.position);
        let batch = &mut self.batch;
        let added = (position, event.event_id().to_owned());
        self.added.events.push(added);
        batch.put(&EVENTS, id, EventRecord::of(event));
        batch.put(&TIMELINE, (room_id, position), id);
        batch.put(&DEPTHS, (room_id, event.pdu.depth().0, position), id);
        for parent in event.pdu.prev_events() {
            batch.put(&EDGES, (room_id, parent.as_str(), id), ());
        }
    }

    /// The batch, complete, and what is to be done once it is committed.
    pub(crate) fn finish(self) -> (Rooms, Batch, Settled) {
        let mut batch = self.batch;
        let room_id = self.room_id.as_ref().map_or("", |id| id.as_str());
        if self.seen.is_none() {
            batch.assert_absent(&NUMBERS, self.head.number);
            batch.assert_absent(&PURGES, room_id);
            batch.put(&NUMBERS, self.head.number, room_id);
        }
        batch.assert_unchanged(&HEADS, room_id, self.seen.as_ref());
        batch.put(&HEADS, room_id, &self.head);
        let roots: Vec<Root> = (self.fresh.values())
            .flat_map(|event| [event.state_before, event.state_after])
            .chain([self.head.state])
            .chain(self.kept_roots)
            .collect();
        self.overlay
            .write_into(&mut batch, self.head.number, &roots);
        batch.wake(Topic::new('r', room_id));
        let mut events = self.fresh;
        events.extend(self.redacted);
        let settled = Settled {
            since: self.view.moment(),
            events,
            place: self.room_id.zip(self.seen.map(|head| head.position)),
            added: self.added,
        };
        (self.rooms, batch, settled)
    }
}

/// The events of a plan, to be cached once they are committed.
pub(crate) struct Settled {
    /// Before they were planned.
    since: Moment,
    events: HashMap<OwnedEventId, Arc<StoredEvent>>,
    /// The room, unless it is new, and where its head was before.
    place: Option<(OwnedRoomId, Position)>,
    added: Added,
}

impl Settled {
    /// Caches the events with the positions that the commit assigned.
    pub(crate) fn cache(self, rooms: &Rooms, committed: &Committed) {
        for (id, event) in self.events {
            let mut event = Arc::unwrap_or_clone(event);
            event.position = committed.resolve(event.position);
            rooms.0.events.note(id, self.since, Arc::new(event));
        }
        if let Some((room_id, before)) = self.place {
            let added = self.added.map(|position| committed.resolve(position));
            rooms.0.tails.extend(&room_id, before, added);
        }
    }
}
