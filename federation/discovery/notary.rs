//! Owns vouching for other servers' keys: their lists, as they signed them, with this server's signature beside. Must never
//! ask more than a few servers for one request.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#querying-keys-through-another-server>

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use hearth_base::Millis;
use hearth_protocol::{sign_json, to_text};
use ruma::{
    CanonicalJsonObject, OwnedServerName, OwnedServerSigningKeyId,
    api::federation::discovery::ServerSigningKeys, serde::Raw,
};
use serde_json::value::RawValue;

use crate::{Error, Federation};

/// For how many servers one request may ask.
const MAX_SERVERS: usize = 50;

/// How many are asked at once.
const AT_ONCE: usize = 8;

/// The lists of the servers that hold these keys and are good at that moment, or the best there are.
pub(super) async fn lists(
    federation: &Federation,
    wanted: impl IntoIterator<Item = (OwnedServerName, (BTreeSet<OwnedServerSigningKeyId>, Millis))>,
) -> Result<Vec<Raw<ServerSigningKeys>>, Error> {
    let asked: Vec<_> =
        wanted
            .into_iter()
            .take(MAX_SERVERS)
            .map(|(server, (ids, moment))| async move {
                federation.peers.list(&server, &ids, moment).await
            })
            .collect();
    let mut found = stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut lists = Vec::new();
    while let Some(list) = found.next().await {
        let Some(list) = list? else { continue };
        let mut object = list.json.clone();
        let own = federation.key.server().as_str();
        if object.get("server_name").and_then(|name| name.as_str()) != Some(own) {
            sign_json(&mut object, &federation.key)?;
        }
        lists.push(raw(&object)?);
    }
    Ok(lists)
}

/// A signed object as an answer.
pub(super) fn raw(object: &CanonicalJsonObject) -> Result<Raw<ServerSigningKeys>, Error> {
    let text = to_text(object)?;
    let raw = RawValue::from_string(text).map_err(|e| Error::internal(&e))?;
    Ok(Raw::from_json(raw))
}
