//! Owns the form in which a device sees events: the client form, with what this server adds for this user and this device.
//! Holds events as they are in memory and writes them once, into the answer. Must never show an event that its caller has
//! not found visible.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-event-format>

use std::sync::Arc;

use hearth_base::Millis;
use hearth_protocol::{ClientEvent, Unsigned, federation_json};
use hearth_rooms::{Membership, StoredEvent};
use hearth_users::Session;
use ruma::api::client::filter::{EventFormat, FilterDefinition};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::fields::Fields;

/// How a request wants its events.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) session: Session,
    pub(crate) now: Millis,
    format: EventFormat,
    fields: Option<Fields>,
}

impl Look {
    pub(crate) fn of(session: &Session, filter: &FilterDefinition, now: Millis) -> Self {
        Self {
            session: session.clone(),
            now,
            format: filter.event_format.clone(),
            fields: filter.event_fields.as_deref().map(Fields::of),
        }
    }
}

/// An event as a device sees it.
#[derive(Clone, Debug)]
pub struct ShownEvent {
    pub(crate) event: Arc<StoredEvent>,
    look: Arc<Look>,
    /// What the user was when the event was sent.
    pub(crate) membership: Option<Membership>,
    /// The state event that this one replaced.
    pub(crate) replaced: Option<Arc<StoredEvent>>,
    /// Bundled aggregations.
    pub(crate) relations: Option<Box<RawValue>>,
}

impl ShownEvent {
    /// The event alone.
    pub(crate) fn new(event: Arc<StoredEvent>, look: &Arc<Look>) -> Self {
        Self {
            event,
            look: look.clone(),
            membership: None,
            replaced: None,
            relations: None,
        }
    }

    /// The event behind it.
    #[must_use]
    pub fn event(&self) -> &StoredEvent {
        &self.event
    }

    fn unsigned(&self) -> Unsigned<'_> {
        let event = &self.event;
        let then = u64::from(event.pdu.origin_server_ts().get());
        let session = &self.look.session;
        let transaction = event
            .transaction
            .as_ref()
            .filter(|sent| sent.user == session.user_id && sent.device == session.device_id);
        let replaced = self.replaced.as_ref().map(|replaced| &replaced.pdu);
        Unsigned {
            age: i64::try_from(self.look.now.0.saturating_sub(then)).ok(),
            membership: self.membership.map(Membership::as_str),
            prev_content: replaced.map(|pdu| pdu.content()),
            prev_sender: replaced.map(|pdu| pdu.sender()),
            replaces_state: replaced.map(|pdu| pdu.event_id()),
            transaction_id: transaction.map(|sent| sent.id.as_str()),
            relations: self.relations.as_deref(),
            ..Unsigned::default()
        }
    }
}

impl Serialize for ShownEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.look.format == EventFormat::Federation {
            return federation_json(&self.event.pdu).serialize(serializer);
        }
        let shown = ClientEvent::new(&self.event.pdu, false, Some(self.unsigned()));
        let Some(fields) = &self.look.fields else {
            return shown.serialize(serializer);
        };
        let whole = serde_json::to_value(&shown).map_err(serde::ser::Error::custom)?;
        fields.pick(&whole).serialize(serializer)
    }
}
