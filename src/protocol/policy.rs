//! Owns what the policy server of a room says of an event: a signature beside those of servers, with a key that the state of the
//! room names. Must never ask the server: the caller does.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#policy-servers>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, ServerName,
    events::room::policy::{POLICY_SERVER_ED25519_SIGNING_KEY_ID, RoomPolicyEventContent},
};

use crate::{
    errors::Malformed, key::SigningKey, pdu::Pdu, redaction::without_stray_invite,
    signature::countersign, version::RoomVersion,
};

/// Under which id a policy server's signature stands. No server publishes a key of this id.
pub const POLICY_KEY_ID: &str = POLICY_SERVER_ED25519_SIGNING_KEY_ID;

/// The policy server that a room names.
#[derive(Clone, Debug)]
pub struct PolicyServer(RoomPolicyEventContent);

impl PolicyServer {
    /// What an `m.room.policy` event names; nothing if it is not valid, which means that there is none.
    #[must_use]
    pub fn of(event: &Pdu) -> Option<Self> {
        let content: RoomPolicyEventContent = serde_json::from_str(event.content().get()).ok()?;
        let ed25519 = ruma::SigningKeyAlgorithm::Ed25519;
        content
            .public_keys
            .contains_key(&ed25519)
            .then_some(Self(content))
    }

    /// Its name.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.0.via
    }

    /// Whether it signed the event. `m.room.policy` itself needs no signature.
    #[must_use]
    pub fn recommends(&self, pdu: &Pdu, version: RoomVersion) -> bool {
        let Ok(object) = pdu.object() else {
            return false;
        };
        let object = without_stray_invite(&object, version);
        let rules = version.rules();
        ruma::signatures::verify_policy_server_signature(&self.0, &object, rules).is_ok()
    }

    /// The event with a signature that the server gave, beside those that it has.
    ///
    /// # Errors
    /// `Malformed` when the result is no longer an event, for example too large.
    pub fn add(
        &self,
        pdu: &Pdu,
        version: RoomVersion,
        signature: String,
    ) -> Result<Pdu, Malformed> {
        let mut object = pdu.object()?;
        let unreadable = || Malformed::format("`signatures` is no object");
        let signatures = object
            .get_mut("signatures")
            .and_then(CanonicalJsonValue::as_object_mut)
            .ok_or_else(unreadable)?;
        let own = signatures
            .entry(self.server().to_string())
            .or_insert_with(|| CanonicalJsonObject::new().into());
        let own = own.as_object_mut().ok_or_else(unreadable)?;
        own.insert(POLICY_KEY_ID.to_owned(), signature.into());
        Ok(Pdu::from_object(&object, version)?.marked_rejected(pdu.is_rejected()))
    }
}

/// The signature with which a policy server recommends an event. `key` is its own, of the id [`POLICY_KEY_ID`].
///
/// # Errors
/// `Malformed` when the event cannot be signed, for example since it would be too large.
pub fn policy_signature(
    pdu: &Pdu,
    version: RoomVersion,
    key: &SigningKey,
) -> Result<String, Malformed> {
    let signed = countersign(pdu, version, key)?.object()?;
    let own = |object: &CanonicalJsonObject, name: &str| object.get(name).cloned();
    own(&signed, "signatures")
        .and_then(|all| own(all.as_object()?, key.server().as_str()))
        .and_then(|own_ones| own(own_ones.as_object()?, POLICY_KEY_ID))
        .and_then(|signature| signature.as_str().map(str::to_owned))
        .ok_or_else(|| Malformed::format("the event was not signed"))
}

/// Whether a room's policy server is to be asked about an event.
#[must_use]
pub fn needs_policy(pdu: &Pdu) -> bool {
    !pdu.is("m.room.policy", "")
}
