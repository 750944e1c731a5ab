//! Owns the check of the signatures and hashes of events. Must never hold up the workers: it is done on threads that may
//! take long.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#validating-hashes-and-signatures-on-received-events>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hearth_base::Millis;
use hearth_protocol::{
    BadSignature, POLICY_KEY_ID, Pdu, PublicKeys, RoomVersion, required_signatures, verify_event,
};
use hearth_store::Error as StoreError;
use ruma::{OwnedServerName, OwnedServerSigningKeyId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::{Peers, Wanted, keyring::KeyList};

/// How many keys of one server an event may be signed with.
const MAX_KEYS: usize = 10;

type Lists = BTreeMap<OwnedServerName, Arc<KeyList>>;

/// By server, the keys that an event has to be signed with one of.
type Signers = BTreeMap<OwnedServerName, BTreeSet<OwnedServerSigningKeyId>>;

impl Peers {
    /// Checks events: each comes back as it is to be kept, without its content if that is not what was signed.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn verified(
        &self,
        events: Vec<Pdu>,
        version: RoomVersion,
    ) -> Result<Vec<Result<Pdu, BadSignature>>, StoreError> {
        let now = self.0.clock.now();
        let mut wanted = Wanted::new();
        let mut signed = Vec::with_capacity(events.len());
        for pdu in events {
            let signers = signers(&pdu, version);
            let moment = moment(&pdu, version);
            for (server, ids) in signers.iter().flatten() {
                let keys = wanted.entry(server.clone()).or_default();
                for id in ids {
                    let least = keys.entry(id.clone()).or_default();
                    // Nobody can have a list of tomorrow.
                    *least = (*least).max(moment.min(now));
                }
            }
            signed.push((pdu, signers, moment));
        }
        let lists = self.lists(&wanted).await?;
        let checked = spawn_blocking(move || {
            let check = |(pdu, signers, moment): (Pdu, Result<Signers, BadSignature>, Millis)| {
                let keys = keys(&signers?, &lists, moment);
                verify_event(&pdu, version, &keys)
            };
            signed.into_iter().map(check).collect()
        });
        checked
            .await
            .map_err(|e| StoreError::Unavailable(format!("signatures were not checked: {e}")))
    }
}

/// The moment at which the keys of an event have to be good: any, in room versions that do not ask.
fn moment(pdu: &Pdu, version: RoomVersion) -> Millis {
    match version >= RoomVersion::ALL[4] {
        true => Millis(pdu.origin_server_ts().get().into()),
        false => Millis(0),
    }
}

fn signers(pdu: &Pdu, version: RoomVersion) -> Result<Signers, BadSignature> {
    #[derive(Deserialize)]
    struct Signed<'a> {
        #[serde(borrow)]
        signatures: BTreeMap<OwnedServerName, BTreeMap<OwnedServerSigningKeyId, &'a RawValue>>,
    }
    let bad = |reason: String| BadSignature { reason };
    let required = required_signatures(pdu, version).map_err(|e| bad(e.to_string()))?;
    let signed: Signed<'_> = serde_json::from_str(pdu.json()).map_err(|e| bad(e.to_string()))?;
    Ok(required
        .into_iter()
        .map(|server| {
            let ids = signed.signatures.get(&server).into_iter().flatten();
            // Who is a policy server too does not publish that key.
            let ids = ids.filter(|(id, _)| id.as_str() != POLICY_KEY_ID);
            let ids = ids.map(|(id, _)| id.clone()).take(MAX_KEYS).collect();
            (server, ids)
        })
        .collect())
}

fn keys(signers: &Signers, lists: &Lists, moment: Millis) -> PublicKeys {
    let mut keys = PublicKeys::new();
    for (server, ids) in signers {
        let own = keys.entry(server.as_str().to_owned()).or_default();
        let Some(list) = lists.get(server) else {
            continue;
        };
        for id in ids {
            if let Some(key) = list.key_at(id, moment) {
                own.insert(id.as_str().to_owned(), key.clone());
            }
        }
    }
    keys
}
