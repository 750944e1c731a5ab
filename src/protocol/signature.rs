//! Owns the checks of signatures and hashes, on events and on other signed objects. Must never fetch a key: the caller
//! passes those that it trusts.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#validating-hashes-and-signatures-on-received-events>

use std::{borrow::Cow, collections::BTreeSet};

use ruma::{
    CanonicalJsonObject, OwnedServerName, ServerName,
    signatures::{JsonError, PublicKeyMap, VerificationError, Verified},
};

use crate::{
    errors::{BadSignature, Malformed},
    key::SigningKey,
    pdu::Pdu,
    redaction,
    version::RoomVersion,
};

/// Public keys to verify with: server name to key id to key.
pub type PublicKeys = PublicKeyMap;

/// The servers whose signature an event needs: the sender's, and in some room versions that of the event id and that of
/// the user who let a restricted join in.
///
/// # Errors
/// `Malformed` when one of those users or the event id is not an identifier.
pub fn required_signatures(
    pdu: &Pdu,
    version: RoomVersion,
) -> Result<BTreeSet<OwnedServerName>, Malformed> {
    let rules = &version.rules().signatures;
    ruma::signatures::required_server_signatures_to_verify_event(&pdu.object()?, rules)
        .map_err(Malformed::format)
}

/// Checks that every server of [`required_signatures`] signed the event with one of the given keys, and that the content
/// is what was signed. An event whose content differs comes back redacted, as the specification wants it stored.
///
/// # Errors
/// `BadSignature` when the event has to be dropped.
pub fn verify_event(
    pdu: &Pdu,
    version: RoomVersion,
    keys: &PublicKeys,
) -> Result<Pdu, BadSignature> {
    let object = pdu.object().map_err(unreadable)?;
    let signed = redaction::without_stray_invite(&object, version);
    let verified = ruma::signatures::verify_event(keys, &signed, version.rules());
    let is_whole = match (verified.map_err(refused)?, &signed) {
        // The hash is one of everything.
        (_, Cow::Owned(_)) => verify_content_hash(pdu).map_err(unreadable)?,
        (verified, Cow::Borrowed(_)) => verified == Verified::All,
    };
    match is_whole {
        true => Ok(pdu.clone()),
        false => redaction::redact(pdu, version, None).map_err(unreadable),
    }
}

/// Checks the signatures alone, without the content hash.
///
/// # Errors
/// `BadSignature` when one is missing or wrong.
pub fn verify_signatures(
    pdu: &Pdu,
    version: RoomVersion,
    keys: &PublicKeys,
) -> Result<(), BadSignature> {
    let object = pdu.object().map_err(unreadable)?;
    let object = redaction::without_stray_invite(&object, version);
    ruma::signatures::verify_event(keys, &object, version.rules())
        .map(|_| ())
        .map_err(refused)
}

/// Whether the content hash that the event carries is that of its content. A redacted event rightly fails this.
///
/// # Errors
/// `Malformed` when the event carries no content hash.
pub fn verify_content_hash(pdu: &Pdu) -> Result<bool, Malformed> {
    let object = pdu.object()?;
    let carried = object
        .get("hashes")
        .and_then(|hashes| hashes.as_object()?.get("sha256")?.as_str())
        .ok_or_else(|| Malformed::format("`hashes.sha256` is missing"))?;
    let computed = ruma::signatures::content_hash(&object).map_err(malformed)?;
    // Compared after decoding: other servers may pad.
    let carried = ruma::serde::Base64::<ruma::serde::base64::Standard>::parse(carried)
        .map_err(Malformed::format)?;
    Ok(carried.as_bytes() == computed.as_bytes())
}

/// The reference hash of an event, in the base64 alphabet of its room version. Event ids since room version 3 are this
/// hash behind a `$`; versions 1 and 2 repeat it in references.
///
/// # Errors
/// `Malformed` when the event cannot be hashed.
pub fn reference_hash(pdu: &Pdu, version: RoomVersion) -> Result<String, Malformed> {
    let object = pdu.object()?;
    let object = redaction::without_stray_invite(&object, version);
    ruma::signatures::reference_hash(&object, version.rules()).map_err(malformed)
}

/// Adds this server's signature to an event of another server, as an invited user's server does, and the resident
/// server of a restricted join.
///
/// # Errors
/// `Malformed` when the result is no longer an event, for example too large.
pub fn countersign(pdu: &Pdu, version: RoomVersion, key: &SigningKey) -> Result<Pdu, Malformed> {
    let mut object = pdu.object()?;
    add_signature(&mut object, version, key)?;
    Ok(Pdu::from_object(&object, version)?.marked_rejected(pdu.is_rejected()))
}

/// Gives a new event its content hash and this server's signature.
pub(crate) fn sign_event(
    object: &mut CanonicalJsonObject,
    version: RoomVersion,
    key: &SigningKey,
) -> Result<(), Malformed> {
    ruma::signatures::add_content_hash_to_event(object).map_err(malformed)?;
    add_signature(object, version, key)
}

/// Signs what redaction leaves of an event.
fn add_signature(
    object: &mut CanonicalJsonObject,
    version: RoomVersion,
    key: &SigningKey,
) -> Result<(), Malformed> {
    let sign = |object: &mut CanonicalJsonObject| {
        let rules = &version.rules().redaction;
        ruma::signatures::sign_event(key.server().as_str(), key, object, rules).map_err(malformed)
    };
    let Cow::Owned(mut signed) = redaction::without_stray_invite(object, version) else {
        return sign(object);
    };
    sign(&mut signed)?;
    if let Some(signatures) = signed.remove("signatures") {
        object.insert("signatures".to_owned(), signatures);
    }
    Ok(())
}

/// Signs any object in place, under `signatures`. `unsigned` and other signatures stay outside.
///
/// # Errors
/// `Malformed` when `signatures` is there and is not an object.
pub fn sign_json(object: &mut CanonicalJsonObject, key: &SigningKey) -> Result<(), Malformed> {
    ruma::signatures::sign_json(key.server().as_str(), key, object).map_err(malformed)
}

/// Checks that `entity` signed the object with one of the given keys; what others signed is not looked at.
///
/// # Errors
/// `BadSignature` when there is no such signature or it is wrong.
pub fn verify_json(
    object: &CanonicalJsonObject,
    entity: &ServerName,
    keys: &PublicKeys,
) -> Result<(), BadSignature> {
    let signatures = object
        .get("signatures")
        .and_then(|signatures| signatures.as_object());
    let own = signatures
        .and_then(|signatures| signatures.get(entity.as_str()))
        .ok_or_else(|| BadSignature {
            reason: format!("{entity} has not signed"),
        })?;
    // Ruma checks all who signed, and other signers' keys are not the caller's business.
    let mut narrowed: CanonicalJsonObject = object
        .iter()
        .filter(|(field, _)| *field != "signatures")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let signatures = CanonicalJsonObject::from([(entity.to_string(), own.clone())]);
    narrowed.insert("signatures".to_owned(), signatures.into());
    ruma::signatures::verify_json(keys, &narrowed).map_err(refused)
}

fn malformed(error: JsonError) -> Malformed {
    match error {
        JsonError::PduTooLarge => Malformed::too_large(error),
        other => Malformed::format(other),
    }
}

fn refused(error: VerificationError) -> BadSignature {
    BadSignature {
        reason: error.to_string(),
    }
}

fn unreadable(error: Malformed) -> BadSignature {
    BadSignature {
        reason: error.reason,
    }
}

#[cfg(test)]
mod tests;
