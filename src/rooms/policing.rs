//! Owns what this server says of events as the policy server of rooms: by rules of its operator. Must never judge for a room in
//! which none of its users is.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#policy-servers>

use hearth_protocol::{Pdu, RoomVersion, SigningKey, needs_policy, policy_signature};
use regex::RegexSet;
use ruma::{OwnedRoomId, ServerName, serde::Base64};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{Error, Refusal, Rooms};

/// The longest a compiled set of expressions may be, in bytes.
const MAX_COMPILED: usize = 16 << 20;

/// What this server recommends, and the key with which it says so.
#[derive(Debug)]
pub struct Policy {
    key: SigningKey,
    senders: RegexSet,
    words: RegexSet,
    max_mentions: usize,
}

impl Policy {
    /// Refuses events whose sender (a user id) or any text of whose content matches one of the expressions, or that mention
    /// more users.
    ///
    /// # Errors
    /// What is wrong with an expression.
    pub fn new(
        key: SigningKey,
        senders: &[String],
        words: &[String],
        max_mentions: usize,
    ) -> Result<Self, regex::Error> {
        Ok(Self {
            key,
            senders: compiled(senders)?,
            words: compiled(words)?,
            max_mentions,
        })
    }

    /// Why the event is refused, if it is.
    fn refusal(&self, pdu: &Pdu) -> Option<&'static str> {
        if self.senders.is_match(pdu.sender().as_str()) {
            return Some("events of this sender are not wanted");
        }
        let content: Value = serde_json::from_str(pdu.content().get()).unwrap_or_default();
        let mentioned = content["m.mentions"]["user_ids"].as_array();
        if mentioned.is_some_and(|users| users.len() > self.max_mentions) {
            return Some("it mentions too many users");
        }
        has_text(&content, &self.words).then_some("it holds what is not wanted")
    }

    /// The signature with which the event is recommended, or why it is not.
    fn judge(&self, pdu: &Pdu, version: RoomVersion) -> Result<Verdict, Error> {
        Ok(match self.refusal(pdu) {
            Some(reason) => Verdict::Refused(reason),
            None => Verdict::Signed(policy_signature(pdu, version, &self.key)?),
        })
    }
}

/// What a policy server says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It recommends it: its signature.
    Signed(String),
    /// It does not, for this reason.
    Refused(&'static str),
}

/// The expressions as one.
fn compiled(expressions: &[String]) -> Result<RegexSet, regex::Error> {
    regex::RegexSetBuilder::new(expressions)
        .size_limit(MAX_COMPILED)
        .build()
}

/// Whether a text in `value` matches. It is as deep as an event may be.
fn has_text(value: &Value, words: &RegexSet) -> bool {
    match value {
        Value::String(text) => words.is_match(text),
        Value::Array(values) => values.iter().any(|value| has_text(value, words)),
        Value::Object(fields) => fields.values().any(|value| has_text(value, words)),
        _ => false,
    }
}

impl Rooms {
    /// Makes this server a policy server. Once.
    pub fn serve_policy(&self, policy: Policy) {
        if self.0.policy.set(policy).is_err() {
            tracing::error!("there is a policy already");
        }
    }

    /// The key that rooms are to name if this server is to be their policy server; nothing if it is none.
    #[must_use]
    pub fn policy_key(&self) -> Option<Base64> {
        self.0.policy.get().map(|policy| policy.key.verify_key())
    }

    /// What this server, as their policy server, says of an event of a room in which one of its users is.
    ///
    /// # Errors
    /// `Refused` (`BadJson`, `InvalidParam`) and `Malformed` for what is no such event, `NotFound` when this server is not in the
    /// room or is no policy server, `Forbidden` when the room does not let `origin` take part; those of the store.
    pub async fn judge_for(&self, origin: &ServerName, event: &RawValue) -> Result<Verdict, Error> {
        #[derive(Deserialize)]
        struct OfRoom {
            room_id: OwnedRoomId,
        }
        let Some(policy) = self.0.policy.get() else {
            return Err(Error::not_found("this server is no policy server"));
        };
        let OfRoom { room_id } = serde_json::from_str(event.get())
            .map_err(|e| Error::refused(Refusal::BadJson, e.to_string()))?;
        let view = self.0.store.view().await?;
        let head = self.known_head(&view, &room_id).await?;
        let own = self.server_name();
        if !self.is_server_in_room(&view, own, &room_id).await? {
            return Err(Error::not_found("this server is not in the room"));
        }
        if !self.may_take_part(&view, &head, origin).await? {
            let reason = "the room does not let your server take part";
            return Err(Error::forbidden(reason));
        }
        let pdu = Pdu::parse(event.get().as_bytes(), head.version)?;
        if !needs_policy(&pdu) {
            let reason = "whom a room asks is not for the one who is asked to say";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        policy.judge(&pdu, head.version)
    }

    /// The signature of this server on an event of a room that names it.
    pub(crate) fn recommend_here(&self, pdu: &Pdu, version: RoomVersion) -> Result<String, Error> {
        let policy = self.0.policy.get().ok_or_else(|| {
            Error::forbidden("the room names this server as its policy server, and it is none")
        })?;
        match policy.judge(pdu, version)? {
            Verdict::Signed(signature) => Ok(signature),
            Verdict::Refused(reason) => Err(Error::forbidden(reason)),
        }
    }
}
