//! Owns what an event does beyond being there: memberships, relations, threads, counts, highlights. Foreseen before the
//! event is added, since that may fail; applied after, which may not.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::sync::Arc;

use hearth_protocol::{Pdu, PowerLevels};
use hearth_store::Position;
use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde::Deserialize;

use crate::{
    Error, Refusal, StoredEvent,
    attention::{Text, counts, is_tombstone, names_in},
    member::Moved,
    plan::Plan,
    relation::{
        ANNOTATIONS, RELATIONS, Related, THREAD_ORDER, THREAD_USERS, THREADS, Thread, relation_of,
    },
    search,
    unread::{EVERYBODY, HIGHLIGHTS, LAST_SENT, LastSent, THREAD_EVENTS},
    visibility::membership_of,
};

/// How many users one event may highlight.
const MAX_MENTIONS: usize = 100;

/// What an event will do.
pub(crate) struct Effects {
    /// Whether default push rules count it as unread.
    pub(crate) counts: bool,
    /// The membership that it sets.
    member: Option<Moved>,
    relation: Option<Relation>,
    /// The users of this server that it mentions; [`EVERYBODY`] for the whole room.
    highlights: Vec<String>,
}

struct Relation {
    rel_type: String,
    parent: OwnedEventId,
    /// Under which key a reaction is remembered.
    annotation: Option<String>,
    /// For a reply in a thread: the thread as it was.
    thread: Option<Option<Thread>>,
}

impl Plan {
    /// Finds out what the event will do. What this server would not send, but has to take from others, is an error only if
    /// `is_ours`.
    pub(crate) async fn foresee(&self, pdu: &Pdu, is_ours: bool) -> Result<Effects, Error> {
        let relation = self.foresee_relation(pdu, is_ours).await?;
        let member = match pdu.state_key() {
            // Those of others follow the current state, which they need not change.
            Some(user) if pdu.event_type() == "m.room.member" && is_ours => {
                let user = UserId::parse(user)
                    .map_err(|_| Error::refused(Refusal::BadJson, "not a user id"))?;
                let counted = self.state("m.room.member", user.as_str()).await?;
                Some(Moved {
                    before: self.member(&user).await?,
                    counted: counted.map(|event| membership_of(event.pdu.content().get())),
                    now: membership_of(pdu.content().get()),
                    user,
                })
            }
            _ => None,
        };
        let edits = relation.as_ref().is_some_and(|r| r.rel_type == "m.replace");
        Ok(Effects {
            counts: counts(pdu) && !edits,
            member,
            highlights: match edits {
                true => Vec::new(),
                false => self.foresee_highlights(pdu).await?,
            },
            relation,
        })
    }

    async fn foresee_relation(&self, pdu: &Pdu, is_ours: bool) -> Result<Option<Relation>, Error> {
        if pdu.is_state() {
            return Ok(None);
        }
        let Some((rel_type, parent, key)) = relation_of(pdu.content()) else {
            return Ok(None);
        };
        let mut relation = Relation {
            rel_type,
            parent,
            annotation: None,
            thread: None,
        };
        match relation.rel_type.as_str() {
            "m.annotation" => {
                let name = format!("{}\0{}", pdu.event_type(), key.unwrap_or_default());
                let is_double = self
                    .annotated(&relation.parent, pdu.sender(), &name)
                    .await?;
                if is_double && is_ours {
                    return Err(Error::refused(
                        Refusal::DuplicateAnnotation,
                        "you reacted so already",
                    ));
                }
                relation.annotation = Some(name);
            }
            "m.thread" => {
                if let Some(root) = self.event(&relation.parent).await? {
                    let is_child =
                        relation_of(root.pdu.content()).is_some_and(|_| !root.pdu.is_state());
                    if is_child && is_ours {
                        return Err(Error::refused(
                            Refusal::Unknown,
                            "a thread cannot start from an event with a relation",
                        ));
                    }
                    if root.pdu.room_id() == pdu.room_id() && !is_child && !root.is_outlier() {
                        relation.thread = Some(self.thread(&relation.parent).await?);
                    }
                }
            }
            _ => {}
        }
        Ok(Some(relation))
    }

    /// The thread under `root`, those of this plan included.
    pub(crate) async fn thread(&self, root: &OwnedEventId) -> Result<Option<Thread>, Error> {
        if let Some(thread) = self.threads.get(root) {
            return Ok(thread.clone());
        }
        Ok(self
            .view
            .get(&THREADS, (self.room_id(), root.as_str()))
            .await?)
    }

    async fn annotated(
        &self,
        parent: &OwnedEventId,
        sender: &UserId,
        name: &str,
    ) -> Result<bool, Error> {
        if let Some(planned) = self.annotations.get(&annotation_key(parent, sender, name)) {
            return Ok(*planned);
        }
        let key = (parent.as_str(), sender.as_str(), name);
        Ok(self.view.get(&ANNOTATIONS, key).await?.is_some())
    }

    /// Whom the event highlights by the default push rules: all, where the room is replaced; else those whom it mentions
    /// or, if it says nothing of mentions, names. Notices highlight nobody.
    async fn foresee_highlights(&self, pdu: &Pdu) -> Result<Vec<String>, Error> {
        if is_tombstone(pdu) {
            return Ok(vec![EVERYBODY.to_owned()]);
        }
        if pdu.is_state() {
            return Ok(Vec::new());
        }
        let text = Text::of(pdu);
        if text.msgtype == "m.notice" {
            return Ok(Vec::new());
        }
        if pdu.content().get().contains("m.mentions") {
            return self.mentioned(pdu).await;
        }
        let mut names = names_in(&text.body, &self.rooms.0.server_name);
        names.retain(|user| user != pdu.sender());
        let joined = self.joined_here(names).await?;
        Ok(joined.iter().map(ToString::to_string).collect())
    }

    async fn mentioned(&self, pdu: &Pdu) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.mentions")]
            mentions: Option<Mentions>,
        }
        #[derive(Deserialize)]
        struct Mentions {
            #[serde(default)]
            user_ids: Vec<OwnedUserId>,
            #[serde(default)]
            room: bool,
        }
        let mentions = serde_json::from_str::<Content>(pdu.content().get())
            .ok()
            .and_then(|content| content.mentions);
        let Some(mentions) = mentions else {
            return Ok(Vec::new());
        };
        let mut named: Vec<OwnedUserId> = Vec::new();
        for user in mentions.user_ids.into_iter().take(MAX_MENTIONS) {
            if self.rooms.is_local(&user) && user != pdu.sender() && !named.contains(&user) {
                named.push(user);
            }
        }
        let joined = self.joined_here(named).await?;
        let mut highlights: Vec<String> = joined.iter().map(ToString::to_string).collect();
        if mentions.room {
            let levels = self.levels().await?;
            if levels.user(pdu.sender()) >= levels.notify_room() {
                highlights.push(EVERYBODY.to_owned());
            }
        }
        Ok(highlights)
    }

    /// The power levels at this point of the plan.
    pub(crate) async fn levels(&self) -> Result<PowerLevels, Error> {
        let create = self
            .state("m.room.create", "")
            .await?
            .ok_or_else(|| Error::corrupt("a room without a create event"))?;
        let levels = self.state("m.room.power_levels", "").await?;
        let levels = levels.as_ref().map(|event| &event.pdu);
        Ok(PowerLevels::of(self.head.version, &create.pdu, levels)?)
    }

    /// Puts what was foreseen into the batch.
    pub(crate) fn apply(&mut self, event: &Arc<StoredEvent>, effects: Effects) {
        let room_id = event.pdu.room_id().as_str();
        let sender = event.pdu.sender();
        let position = event.position;
        if let Some(moved) = effects.member {
            self.apply_member(&event.pdu, position, moved);
        }
        let mut thread_root = String::new();
        if let Some(relation) = effects.relation {
            if relation.rel_type == "m.thread" {
                thread_root = relation.parent.as_str().to_owned();
            }
            self.apply_relation(event, relation);
        }
        for user in effects.highlights {
            let key = (room_id, user.as_str(), position);
            self.batch.put(&HIGHLIGHTS, key, thread_root.as_str());
            self.added.traits.highlighted = Some(position);
        }
        if effects.counts && !thread_root.is_empty() {
            let value = (thread_root.as_str(), sender.as_str());
            self.batch.put(&THREAD_EVENTS, (room_id, position), value);
            self.added.traits.threaded = Some(position);
        }
        search::index(&mut self.batch, self.head.number, event);
        if self.rooms.is_local(sender) && (effects.counts || !event.pdu.is_state()) {
            let last = LastSent {
                position,
                counted: event.counted,
            };
            self.batch
                .put(&LAST_SENT, (room_id, sender.as_str()), &last);
        }
    }

    fn apply_relation(&mut self, event: &StoredEvent, relation: Relation) {
        let room_id = event.pdu.room_id().as_str();
        let (id, sender, position) = (event.event_id(), event.pdu.sender(), event.position);
        let parent = relation.parent.as_str();
        let related = Related {
            rel_type: relation.rel_type,
            event_type: event.pdu.event_type().to_owned(),
            event_id: id.as_str().to_owned(),
        };
        self.batch
            .put(&RELATIONS, (room_id, parent, position), related);
        self.added.traits.related = Some(position);
        if let Some(name) = relation.annotation {
            let key = (parent, sender.as_str(), name.as_str());
            self.batch.put(&ANNOTATIONS, key, id.as_str());
            let planned = annotation_key(&relation.parent, sender, &name);
            self.annotations.insert(planned, true);
        }
        if let Some(before) = relation.thread {
            if let Some(before) = &before {
                let old = (room_id, before.latest, parent);
                self.forget_order(old, &relation.parent);
            }
            let thread = Thread {
                count: before.map_or(0, |thread| thread.count) + 1,
                latest: position,
                latest_id: id.to_owned(),
            };
            let batch = &mut self.batch;
            batch.put(&THREADS, (room_id, parent), &thread);
            batch.put(&THREAD_ORDER, (room_id, position, parent), ());
            batch.put(&THREAD_USERS, (parent, sender.as_str()), ());
            self.threads.insert(relation.parent, Some(thread));
        }
    }

    /// Takes a thread out of the order of threads. A place that this plan itself gave it is skipped when reading, since
    /// a pending position cannot be deleted.
    pub(crate) fn forget_order(
        &mut self,
        (room_id, latest, parent): (&str, Position, &str),
        _root: &OwnedEventId,
    ) {
        if latest.slot().is_none() {
            self.batch.delete(&THREAD_ORDER, (room_id, latest, parent));
        }
    }

    /// Takes out of the indexes what a redacted event put there.
    pub(crate) async fn withdraw(&mut self, event: &StoredEvent) -> Result<(), Error> {
        let room_id = event.pdu.room_id().as_str();
        if event.position.slot().is_some() {
            return Ok(());
        }
        search::withdraw(&mut self.batch, self.head.number, event);
        if event.pdu.is_state() {
            return Ok(());
        }
        for user in self.foresee_highlights(&event.pdu).await? {
            let key = (room_id, user.as_str(), event.position);
            self.batch.delete(&HIGHLIGHTS, key);
        }
        let Some((rel_type, parent, key)) = relation_of(event.pdu.content()) else {
            return Ok(());
        };
        let row = (room_id, parent.as_str(), event.position);
        self.batch.delete(&RELATIONS, row);
        match rel_type.as_str() {
            "m.annotation" => {
                let name = format!("{}\0{}", event.pdu.event_type(), key.unwrap_or_default());
                let sender = event.pdu.sender();
                let row = (parent.as_str(), sender.as_str(), name.as_str());
                self.batch.delete(&ANNOTATIONS, row);
                self.annotations
                    .insert(annotation_key(&parent, sender, &name), false);
            }
            "m.thread" => self.shorten_thread(event, &parent).await?,
            _ => {}
        }
        Ok(())
    }

    async fn shorten_thread(
        &mut self,
        event: &StoredEvent,
        root: &OwnedEventId,
    ) -> Result<(), Error> {
        let Some(mut thread) = self.thread(root).await? else {
            return Ok(());
        };
        let room_id = event.pdu.room_id().as_str();
        thread.count = thread.count.saturating_sub(1);
        if thread.latest_id == event.event_id() {
            let low = (Position::ZERO, event.position);
            let older = self
                .rooms
                .children(
                    &self.view,
                    event.pdu.room_id(),
                    root,
                    low,
                    hearth_store::Direction::Backward,
                )
                .await?
                .into_iter()
                .find(|(_, related)| related.rel_type == "m.thread");
            self.forget_order((room_id, thread.latest, root.as_str()), root);
            match older {
                Some((position, related)) => {
                    thread.latest = position;
                    thread.latest_id = crate::timeline::parse_id(related.event_id)?;
                    let row = (room_id, position, root.as_str());
                    self.batch.put(&THREAD_ORDER, row, ());
                }
                None => thread.count = 0,
            }
        }
        let row = (room_id, root.as_str());
        if thread.count == 0 {
            self.batch.delete(&THREADS, row);
            self.threads.insert(root.clone(), None);
        } else {
            self.batch.put(&THREADS, row, &thread);
            self.threads.insert(root.clone(), Some(thread));
        }
        Ok(())
    }
}

fn annotation_key(parent: &OwnedEventId, sender: &UserId, name: &str) -> String {
    format!("{parent}\0{sender}\0{name}")
}
