//! Owns the signatures that users add to keys: on their own devices and master key, and on other users' master keys. Must
//! never store one that does not verify, or that its signer had no business making.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3keyssignaturesupload>

use std::collections::BTreeMap;

use hearth_store::{Batch, View};
use ruma::{
    CanonicalJsonObject, OwnedUserId, UserId, api::client::keys::upload_signatures::v3::Request,
};
use serde_json::value::RawValue;

use super::{
    DEVICE_KEYS, SIGNATURES,
    cross_signing::{MASTER, SELF_SIGNING, USER_SIGNING, stored_key},
    note_change_for,
    query::stored,
    verify::{device_key, parse, public_key, same_but_signatures, signatures_of, signed_with},
};
use crate::{Error, Users};

/// How many signatures one request may bring.
const MAX_SIGNATURES: usize = 1_000;

/// Why one signed key was not taken; the others of the request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// There is no such device or key (`M_NOT_FOUND`).
    NotFound,
    /// It is not the key that is stored, or nobody whose signature counts signed it, or a signature is wrong (`M_INVALID_SIGNATURE`).
    Invalid,
    /// More signatures than a request may bring (`M_LIMIT_EXCEEDED`).
    TooMany,
}

/// What became of an upload of signatures.
#[derive(Clone, Debug, Default)]
pub struct SignatureOutcome {
    /// Whether keys of the signer changed for others, so that the rooms have to hear of it.
    pub changed: bool,
    /// What was not taken, by owner of the key and its name.
    pub failures: BTreeMap<OwnedUserId, BTreeMap<String, SignatureFault>>,
}

impl Users {
    /// Plans the signatures that `signer` adds to keys. The signer's own devices are told here.
    ///
    /// # Errors
    /// Those of the store; what is wrong with a single key is in the outcome.
    pub async fn plan_signatures(
        &self,
        view: &View,
        batch: &mut Batch,
        signer: &UserId,
        request: &Request,
    ) -> Result<SignatureOutcome, Error> {
        let mut outcome = SignatureOutcome::default();
        let mut budget = MAX_SIGNATURES;
        for (owner, keys) in &request.signed_keys {
            let mut added = false;
            for (name, json) in keys.iter() {
                let taken = if budget == 0 {
                    Err(SignatureFault::TooMany)
                } else {
                    budget -= 1;
                    plan_signature(view, batch, signer, owner, name, json).await?
                };
                match taken {
                    Ok(new) => added |= new,
                    Err(fault) => {
                        let failures = outcome.failures.entry(owner.clone()).or_default();
                        failures.insert(name.to_owned(), fault);
                    }
                }
            }
            if added {
                outcome.changed |= owner == signer;
                note_change_for(batch, signer, owner);
            }
        }
        Ok(outcome)
    }
}

/// Plans the signatures on one key; answers whether one is new.
async fn plan_signature(
    view: &View,
    batch: &mut Batch,
    signer: &UserId,
    owner: &UserId,
    name: &str,
    json: &RawValue,
) -> Result<Result<bool, SignatureFault>, Error> {
    let Ok(signed) = parse(json.get()) else {
        return Ok(Err(SignatureFault::Invalid));
    };
    let Some((target, signers)) = target(view, signer, owner, name).await? else {
        return Ok(Err(SignatureFault::NotFound));
    };
    if !same_but_signatures(&target, &signed) {
        return Ok(Err(SignatureFault::Invalid));
    }
    let mut new = false;
    let mut any = false;
    for (id, signature) in signatures_of(&signed, signer) {
        let known = signatures_of(&target, signer).any(|known| known == (id, signature));
        if known {
            any = true;
            continue;
        }
        let Some(public) = signers.public(view, signer, id).await? else {
            continue;
        };
        if !signed_with(&target, &public, signature) {
            return Ok(Err(SignatureFault::Invalid));
        }
        any = true;
        let place = (owner.as_str(), name, signer.as_str(), id);
        if view.get(&SIGNATURES, place).await?.as_deref() != Some(signature) {
            batch.put(&SIGNATURES, place, signature);
            new = true;
        }
    }
    Ok(if any {
        Ok(new)
    } else {
        Err(SignatureFault::Invalid)
    })
}

/// Whose signatures count on a key.
enum Signers {
    /// That of the cross-signing key with this public key, in base64.
    Key(String),
    /// Those of the signer's devices.
    Devices,
}

impl Signers {
    /// The public key to check the signature `id` with; `None` if such a signature does not count.
    async fn public(
        &self,
        view: &View,
        signer: &UserId,
        id: &str,
    ) -> Result<Option<String>, Error> {
        let Some(name) = id.strip_prefix("ed25519:") else {
            return Ok(None);
        };
        match self {
            Self::Key(public) => Ok((public == name).then(|| public.clone())),
            Self::Devices => {
                let keys = view
                    .get_bytes(&DEVICE_KEYS, (signer.as_str(), name))
                    .await?;
                let keys = keys.as_deref().map(stored).transpose()?;
                Ok(keys
                    .as_ref()
                    .and_then(|keys| device_key(keys, name))
                    .map(str::to_owned))
            }
        }
    }
}

/// The stored key that is signed, and whose signatures count on it.
async fn target(
    view: &View,
    signer: &UserId,
    owner: &UserId,
    name: &str,
) -> Result<Option<(CanonicalJsonObject, Signers)>, Error> {
    let master = stored_key(view, owner, MASTER).await?;
    let is_master = master.as_ref().and_then(public_key) == Some(name);
    if signer != owner {
        let by = stored_key(view, signer, USER_SIGNING).await?;
        let by = by.as_ref().and_then(public_key).map(str::to_owned);
        return Ok(match (master, by) {
            (Some(master), Some(by)) if is_master => Some((master, Signers::Key(by))),
            _ => None,
        });
    }
    if let Some(master) = master.filter(|_| is_master) {
        return Ok(Some((master, Signers::Devices)));
    }
    let device = view.get_bytes(&DEVICE_KEYS, (owner.as_str(), name)).await?;
    let by = stored_key(view, signer, SELF_SIGNING).await?;
    let by = by.as_ref().and_then(public_key).map(str::to_owned);
    match (device, by) {
        (Some(device), Some(by)) => Ok(Some((stored(&device)?, Signers::Key(by)))),
        _ => Ok(None),
    }
}
