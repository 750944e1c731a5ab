//! Owns sending: messages, state and redactions of this server's users. Must never let an event through that the auth
//! rules refuse, nor answer before it is on disk.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#sending-events-to-a-room>

use std::{collections::BTreeMap, sync::Arc};

use hearth_protocol::{Level, PowerLevels, check_content, may_redact, redact};
use ruma::{EventId, OwnedEventId, OwnedRoomAliasId, UserId};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    Error, NewEvent, Refusal, Rooms, StoredEvent,
    alias::ALIASES,
    event::{EVENTS, EventRecord},
    known_events::changed,
    plan::{Plan, Proposal},
    queue::Work,
    transaction::path_of,
};

impl Rooms {
    /// Sends an event and returns its id once it is durable. A repeated transaction returns the id of the first time; a
    /// state event that changes nothing returns the id of the one that is there.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound` for a redaction of an event that is not there, `Refused` with `DuplicateAnnotation`,
    /// `BadAlias` or `InvalidParam`, `Malformed`, `Busy`.
    pub async fn send(&self, event: NewEvent) -> Result<OwnedEventId, Error> {
        if event.event_type == "m.room.member"
            && let Some(user) = &event.state_key
        {
            self.await_member(&event.room_id, user).await?;
        }
        self.enqueue(event.room_id.clone(), Work::Send(event)).await
    }

    /// Redacts an event: [`Rooms::send`] with a redaction.
    ///
    /// # Errors
    /// As [`Rooms::send`].
    pub async fn redact(
        &self,
        mut redaction: NewEvent,
        target: OwnedEventId,
    ) -> Result<OwnedEventId, Error> {
        redaction.redacts = Some(target);
        self.send(redaction).await
    }
}

impl Plan {
    /// Plans an event that a user sends.
    pub(crate) async fn send(&mut self, mut event: NewEvent) -> Result<OwnedEventId, Error> {
        check_kind(&event)?;
        if event.event_type == "m.room.member" {
            event.content = without_authoriser(event.content)?;
        }
        let path = path_of(&event.event_type, event.redacts.as_deref());
        let transaction = event.transaction.clone().map(|made_by| (made_by, path));
        if let Some(id) = self.repeated(transaction.as_ref()).await? {
            return Ok(id);
        }
        if let Some(state_key) = &event.state_key {
            if let Some(same) = self.unchanged(&event, state_key).await? {
                return Ok(same);
            }
            match event.event_type.as_str() {
                "m.room.canonical_alias" if state_key.is_empty() => {
                    self.check_aliases(&event).await?;
                }
                "m.room.power_levels" if state_key.is_empty() => self.check_levels(&event).await?,
                _ => {}
            }
        }
        let redacts = match event.redacts {
            Some(target) => Some(target),
            None if event.event_type == "m.room.redaction" => redacts_of(event.content.get()),
            None => None,
        };
        let target = match &redacts {
            Some(target) => self.redactable(target).await?,
            None => None,
        };
        let proposal = Proposal {
            sender: event.sender,
            event_type: event.event_type,
            state_key: event.state_key,
            content: event.content,
            redacts,
            transaction,
            timestamp: event.timestamp,
        };
        self.check_joined(&proposal).await?;
        if let Some(target) = target {
            return self.redact(proposal, &target).await;
        }
        let is_ahead = proposal.redacts.is_some();
        let added = self.add(proposal).await?;
        if is_ahead {
            self.redact_received(&added).await?;
        }
        Ok(added.event_id().to_owned())
    }

    /// Refuses early, in plain words, who is not in the room.
    async fn check_joined(&self, proposal: &Proposal) -> Result<(), Error> {
        let is_about_members = proposal.event_type == "m.room.member";
        let sender = vec![proposal.sender.clone()];
        if !is_about_members && self.joined_here(sender).await?.is_empty() {
            return Err(Error::forbidden("you are not in this room"));
        }
        Ok(())
    }

    /// The current state event, if the new one would say the same.
    async fn unchanged(
        &self,
        event: &NewEvent,
        state_key: &str,
    ) -> Result<Option<OwnedEventId>, Error> {
        let Some(current) = self.state(&event.event_type, state_key).await? else {
            return Ok(None);
        };
        if current.pdu.sender() != event.sender || event.transaction.is_some() {
            return Ok(None);
        }
        let new = check_content(&event.content)?;
        let same = check_content(current.pdu.content()).is_ok_and(|old| old == new);
        Ok(same.then(|| current.event_id().to_owned()))
    }

    /// Aliases that are new in the content have to point here.
    async fn check_aliases(&self, event: &NewEvent) -> Result<(), Error> {
        let named = aliases_of(event.content.get())
            .map_err(|e| Error::refused(Refusal::InvalidParam, e.to_string()))?;
        let known = match self.state("m.room.canonical_alias", "").await? {
            Some(current) => aliases_of(current.pdu.content().get()).unwrap_or_default(),
            None => Vec::new(),
        };
        for alias in named.iter().filter(|alias| !known.contains(alias)) {
            let found = self.view.get(&ALIASES, alias.as_str()).await?;
            if found.is_none_or(|target| target.room_id != self.room_id()) {
                return Err(Error::refused(
                    Refusal::BadAlias,
                    format!("{alias} does not point to this room"),
                ));
            }
        }
        Ok(())
    }

    /// No level is given to who is above all levels.
    async fn check_levels(&self, event: &NewEvent) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(default)]
            users: BTreeMap<String, IgnoredAny>,
        }
        let Ok(content) = serde_json::from_str::<Content>(event.content.get()) else {
            // Refused by the rules, with the reason.
            return Ok(());
        };
        let levels = self.levels().await?;
        let listed = content
            .users
            .keys()
            .filter_map(|user| UserId::parse(user).ok());
        for user in listed {
            if levels.user(&user) == Level::Infinite {
                let reason = format!("{user} made the room and can have no power level");
                return Err(Error::refused(Refusal::InvalidParam, reason));
            }
        }
        Ok(())
    }

    /// The event to be redacted, which has to be one of this room. In a room of several servers it may be one that is still
    /// on its way: then there is nothing.
    async fn redactable(&self, target: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        match self.stored_event(target).await? {
            Some(event) if event.pdu.room_id().as_str() == self.room_id() => Ok(Some(event)),
            None if self.is_shared().await? => Ok(None),
            _ => Err(Error::not_found("there is no such event in this room")),
        }
    }

    /// Plans a redaction: the redacted form takes the place of the event, under the same id.
    async fn redact(
        &mut self,
        proposal: Proposal,
        target: &Arc<StoredEvent>,
    ) -> Result<OwnedEventId, Error> {
        let levels = self.levels().await?;
        let sender = &proposal.sender;
        let by_power = levels.user(sender) >= levels.redact();
        if !by_power && sender != target.pdu.sender() {
            return Err(Error::forbidden("you may not redact this event"));
        }
        let redaction = self.add(proposal).await?;
        self.take_effect(&redaction, target, &levels).await?;
        Ok(redaction.event_id().to_owned())
    }

    /// Empties the event that a redaction names, if the redaction may do that.
    pub(crate) async fn take_effect(
        &mut self,
        redaction: &StoredEvent,
        target: &Arc<StoredEvent>,
        levels: &PowerLevels,
    ) -> Result<(), Error> {
        let version = self.head.version;
        if target.redacted_by.is_some() || !may_redact(&redaction.pdu, &target.pdu, levels, version)
        {
            return Ok(());
        }
        let redacted = StoredEvent {
            pdu: redact(&target.pdu, version, Some(&redaction.pdu))?,
            redacted_by: Some(redaction.event_id().to_owned()),
            ..StoredEvent::clone(target)
        };
        self.withdraw(target).await?;
        let record = EventRecord::of(&redacted);
        self.batch
            .put(&EVENTS, redacted.event_id().as_str(), record);
        // Whoever is told that it is gone may look for it on any node.
        self.batch.wake_everywhere(changed(redacted.event_id()));
        self.redacted
            .insert(redacted.event_id().to_owned(), Arc::new(redacted));
        Ok(())
    }
}

/// Refuses what only the server makes.
fn check_kind(event: &NewEvent) -> Result<(), Error> {
    if event.event_type == "m.room.create" && event.state_key.as_deref() == Some("") {
        return Err(Error::refused(
            Refusal::InvalidParam,
            "a room has one create event, its first",
        ));
    }
    Ok(())
}

/// The content of a member event without who lets the user in, which the server alone decides.
fn without_authoriser(content: Box<RawValue>) -> Result<Box<RawValue>, Error> {
    const FIELD: &str = "join_authorised_via_users_server";
    if !content.get().contains(FIELD) {
        return Ok(content);
    }
    let bad = |e: serde_json::Error| Error::refused(Refusal::BadJson, e.to_string());
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(content.get()).map_err(bad)?;
    fields.remove(FIELD);
    serde_json::value::to_raw_value(&fields).map_err(bad)
}

/// The event that the content of a redaction names.
fn redacts_of(content: &str) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    serde_json::from_str::<Content>(content).ok()?.redacts
}

/// All aliases in the content of `m.room.canonical_alias`.
fn aliases_of(content: &str) -> Result<Vec<OwnedRoomAliasId>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Content {
        alias: Option<OwnedRoomAliasId>,
        #[serde(default)]
        alt_aliases: Vec<OwnedRoomAliasId>,
    }
    let content: Content = serde_json::from_str(content)?;
    Ok(content
        .alias
        .into_iter()
        .chain(content.alt_aliases)
        .collect())
}
