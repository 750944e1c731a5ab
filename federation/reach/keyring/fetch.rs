//! Owns asking for keys: the server first, then the notaries. Must never let a notary speak for a server that did not sign
//! the list itself.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#querying-keys-through-another-server>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hearth_base::Millis;
use hearth_protocol::to_text;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerSigningKeyId, ServerName, UInt,
    api::federation::discovery::{get_remote_server_keys_batch, get_server_keys},
};

use super::{KeyList, own_list};
use crate::reach::{Peers, call::Manner};

/// How a server is asked for its keys: a list is short, and somebody waits.
const MANNER: Manner = Manner {
    patience: Duration::from_secs(15),
    max_answer: 64 * 1024,
    ..Manner::WAITED_FOR
};

/// How a notary is asked.
const NOTARY: Manner = Manner {
    max_answer: 256 * 1024,
    ..MANNER
};

impl Peers {
    /// This server's own list.
    pub(super) fn own_keys(&self) -> Option<Arc<KeyList>> {
        let now = self.0.clock.now();
        let own = own_list(&self.0.key, now).and_then(|list| {
            let text = to_text(&list).map_err(|e| e.to_string())?;
            KeyList::checked(&self.0.settings.server_name, text.as_bytes(), now)
        });
        own.inspect_err(|reason| tracing::error!(reason, "this server's own keys are not a list"))
            .ok()
            .map(Arc::new)
    }

    /// A fresh list of the server, from itself or from a notary.
    pub(super) async fn fetch_list(
        &self,
        server: &ServerName,
        ids: &BTreeSet<OwnedServerSigningKeyId>,
        now: Millis,
    ) -> Option<Arc<KeyList>> {
        let request = get_server_keys::v2::Request::new();
        let answered = self.call(server, request, MANNER).await;
        let checked = answered.map_err(|e| e.to_string()).and_then(|answer| {
            KeyList::checked(server, answer.server_key.json().get().as_bytes(), now)
        });
        match checked {
            Ok(list) => return Some(Arc::new(list)),
            Err(reason) => tracing::debug!(%server, reason, "the server gives no keys"),
        }
        for notary in &self.0.settings.notaries {
            if notary == server {
                continue;
            }
            match self.ask_notary(notary, server, ids, now).await {
                Ok(list) => return Some(Arc::new(list)),
                Err(reason) => {
                    tracing::debug!(%server, %notary, reason, "the notary gives no keys");
                }
            }
        }
        None
    }

    async fn ask_notary(
        &self,
        notary: &ServerName,
        server: &ServerName,
        ids: &BTreeSet<OwnedServerSigningKeyId>,
        now: Millis,
    ) -> Result<KeyList, String> {
        let mut criteria = get_remote_server_keys_batch::v2::QueryCriteria::new();
        criteria.minimum_valid_until_ts =
            Some(MilliSecondsSinceUnixEpoch(UInt::new_saturating(now.0)));
        let ids: BTreeMap<_, _> = ids
            .iter()
            .map(|id| (id.clone(), criteria.clone()))
            .collect();
        let request = get_remote_server_keys_batch::v2::Request::new(BTreeMap::from([(
            server.to_owned(),
            ids,
        )]));
        let answer = self
            .call(notary, request, NOTARY)
            .await
            .map_err(|e| e.to_string())?;
        let lists = answer.server_keys.iter().filter_map(|list| {
            // The connection proved who the notary is; the list proves itself.
            KeyList::checked(server, list.json().get().as_bytes(), now).ok()
        });
        lists
            .max_by_key(|list| list.valid_until)
            .ok_or_else(|| "it has no good list".to_owned())
    }
}
