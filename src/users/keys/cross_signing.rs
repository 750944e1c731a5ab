//! Owns the cross-signing keys of a user: which uploads need the user's password, and which are right. Must never
//! store a self-signing or user-signing key that the master key did not sign.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#cross-signing>

use bytes::Bytes;
use hearth_store::{Batch, View};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, UserId,
    api::client::keys::upload_signing_keys::v3::Request, encryption::CrossSigningKey, serde::Raw,
};

use super::{
    CROSS_SIGNING, DEVICE_KEYS, note_change_for,
    query::stored,
    verify::{object, parse, public_key, same_but_signatures, signatures_of, signed_with, text},
};
use crate::{Error, Refusal, Users};

/// The usage of the key that signs the other two.
pub(super) const MASTER: &str = "master";
/// The usage of the key that signs the user's own devices.
pub(super) const SELF_SIGNING: &str = "self_signing";
/// The usage of the key that signs other users' master keys.
pub(super) const USER_SIGNING: &str = "user_signing";

impl Users {
    /// Whether an upload of cross-signing keys needs user-interactive authentication: it does when there is a master key
    /// already and the upload brings any key that is not stored.
    ///
    /// # Errors
    /// What is wrong with the JSON; those of the store.
    pub async fn cross_signing_needs_auth(
        &self,
        view: &View,
        user: &UserId,
        request: &Request,
    ) -> Result<bool, Error> {
        if stored_key(view, user, MASTER).await?.is_none() {
            return Ok(false);
        }
        for (usage, raw) in keys_of(request) {
            let key = parse(raw.json().get())?;
            match stored_key(view, user, usage).await? {
                Some(seen) if same_but_signatures(&seen, &key) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Plans an upload of cross-signing keys. Answers whether one of them that others see changed, so that the rooms have to hear of
    /// it; the user's own devices are told here.
    ///
    /// # Errors
    /// `InvalidParam` for a key of another user, usage or form; `MissingParam` without any master key; `InvalidSignature`;
    /// `Forbidden` for a public key that is the name of a device.
    pub async fn plan_cross_signing(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        request: &Request,
    ) -> Result<bool, Error> {
        let seen = view
            .get_bytes(&CROSS_SIGNING, (user.as_str(), MASTER))
            .await?;
        let mut master = seen.as_deref().map(stored).transpose()?;
        batch.assert_unchanged(&CROSS_SIGNING, (user.as_str(), MASTER), seen);
        let (mut changed, mut others_see) = (false, false);
        for (usage, raw) in keys_of(request) {
            let json = raw.json().get();
            let key = parse(json)?;
            let public = check_form(&key, user, usage)?;
            if view
                .get_bytes(&DEVICE_KEYS, (user.as_str(), public))
                .await?
                .is_some()
            {
                return Err(Error::forbidden("the public key is the name of a device"));
            }
            if usage == MASTER {
                master = Some(key.clone());
            } else {
                check_signed_by(&key, master.as_ref(), user)?;
            }
            let place = (user.as_str(), usage);
            if let Some(seen) = stored_key(view, user, usage).await?
                && seen == key
            {
                continue;
            }
            batch.put(
                &CROSS_SIGNING,
                place,
                Bytes::copy_from_slice(json.as_bytes()),
            );
            changed = true;
            others_see |= usage != USER_SIGNING;
        }
        if master.is_none() {
            return Err(Error::refused(
                Refusal::MissingParam,
                "there is no master key",
            ));
        }
        if changed {
            note_change_for(batch, user, user);
        }
        Ok(others_see)
    }
}

/// A cross-signing key of a user.
pub(super) async fn stored_key(
    view: &View,
    user: &UserId,
    usage: &str,
) -> Result<Option<CanonicalJsonObject>, Error> {
    let json = view
        .get_bytes(&CROSS_SIGNING, (user.as_str(), usage))
        .await?;
    json.as_deref().map(stored).transpose()
}

/// The keys of an upload, the master key first.
fn keys_of(request: &Request) -> impl Iterator<Item = (&'static str, &Raw<CrossSigningKey>)> {
    [
        (MASTER, &request.master_key),
        (SELF_SIGNING, &request.self_signing_key),
        (USER_SIGNING, &request.user_signing_key),
    ]
    .into_iter()
    .filter_map(|(usage, key)| Some((usage, key.as_ref()?)))
}

/// Checks that a key says of itself what the request says, and returns its public key.
fn check_form<'a>(
    key: &'a CanonicalJsonObject,
    user: &UserId,
    usage: &str,
) -> Result<&'a str, Error> {
    let wrong = |reason: String| Error::refused(Refusal::InvalidParam, reason);
    if text(key, "user_id") != Some(user.as_str()) {
        return Err(wrong(format!("the {usage} key is not of {user}")));
    }
    let usages = key.get("usage").and_then(CanonicalJsonValue::as_array);
    if !usages.is_some_and(|usages| usages.iter().any(|each| each.as_str() == Some(usage))) {
        return Err(wrong(format!("the {usage} key has another usage")));
    }
    if key.contains_key("signatures") && object(key, "signatures").is_none() {
        return Err(wrong(format!(
            "the signatures of the {usage} key are not an object"
        )));
    }
    public_key(key).ok_or_else(|| {
        wrong(format!(
            "the {usage} key must hold one ed25519 key, named after itself"
        ))
    })
}

fn check_signed_by(
    key: &CanonicalJsonObject,
    master: Option<&CanonicalJsonObject>,
    user: &UserId,
) -> Result<(), Error> {
    let master = master
        .and_then(public_key)
        .ok_or_else(|| Error::refused(Refusal::MissingParam, "there is no master key"))?;
    let id = format!("ed25519:{master}");
    let signed = signatures_of(key, user)
        .any(|(signer, signature)| signer == id && signed_with(key, master, signature));
    if signed {
        return Ok(());
    }
    Err(Error::refused(
        Refusal::InvalidSignature,
        "the key is not signed by the master key",
    ))
}
