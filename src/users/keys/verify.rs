//! Owns reading keys as signed objects and checking one signature on them. Must never trust a key that the object brings
//! along: callers name the key.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#signing-json>

use hearth_protocol::parse_object;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, SigningKeyAlgorithm, UserId,
    serde::{Base64, base64::Standard},
    signatures::{to_canonical_json_string_for_signing, verify_canonical_json_bytes},
};

use super::MAX_KEY_BYTES;
use crate::{Error, Refusal};

/// The only algorithm that devices and cross-signing keys sign with.
const ED25519: &str = "ed25519:";

/// Reads an uploaded key, which must be canonical JSON and not too long.
pub(super) fn parse(json: &str) -> Result<CanonicalJsonObject, Error> {
    if json.len() > MAX_KEY_BYTES {
        return Err(Error::refused(Refusal::TooLarge, "a key is too long"));
    }
    Ok(parse_object(json.as_bytes())?)
}

/// The text of a field, if it is there and a string.
pub(super) fn text<'a>(object: &'a CanonicalJsonObject, field: &str) -> Option<&'a str> {
    object.get(field).and_then(CanonicalJsonValue::as_str)
}

/// The object in a field, if it is there and one.
pub(super) fn object<'a>(
    object: &'a CanonicalJsonObject,
    field: &str,
) -> Option<&'a CanonicalJsonObject> {
    object.get(field).and_then(CanonicalJsonValue::as_object)
}

/// The signatures of `signer` on `object`: key id and signature.
pub(super) fn signatures_of<'a>(
    signed: &'a CanonicalJsonObject,
    signer: &UserId,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    object(signed, "signatures")
        .and_then(|all| object(all, signer.as_str()))
        .into_iter()
        .flatten()
        .filter_map(|(id, signature)| Some((id.as_str(), signature.as_str()?)))
}

/// Whether `signature` was made over `object` with the ed25519 key that is `public_key` in base64.
pub(super) fn signed_with(object: &CanonicalJsonObject, public_key: &str, signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (
        Base64::<Standard>::parse(public_key),
        Base64::<Standard>::parse(signature),
    ) else {
        return false;
    };
    let Ok(text) = to_canonical_json_string_for_signing(object) else {
        return false;
    };
    verify_canonical_json_bytes(
        &SigningKeyAlgorithm::Ed25519,
        key.as_bytes(),
        signature.as_bytes(),
        text.as_bytes(),
    )
    .is_ok()
}

/// The public key of a cross-signing key: the only entry of its `keys`, whose id is `ed25519:` and the key itself.
pub(super) fn public_key(key: &CanonicalJsonObject) -> Option<&str> {
    let mut keys = object(key, "keys")?.iter();
    let (Some((id, value)), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let value = value.as_str()?;
    (id.strip_prefix(ED25519)? == value && Base64::<Standard>::parse(value).is_ok())
        .then_some(value)
}

/// The ed25519 key of a device, from its device keys.
pub(super) fn device_key<'a>(keys: &'a CanonicalJsonObject, device: &str) -> Option<&'a str> {
    text(object(keys, "keys")?, &format!("{ED25519}{device}"))
}

/// Whether two keys are the same but for their signatures and what is not signed.
pub(super) fn same_but_signatures(a: &CanonicalJsonObject, b: &CanonicalJsonObject) -> bool {
    match (
        to_canonical_json_string_for_signing(a),
        to_canonical_json_string_for_signing(b),
    ) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
