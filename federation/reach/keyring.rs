//! Owns the keys of other servers: fetching them from the server itself or, where it does not answer, from notaries;
//! keeping them; and saying for which moment each is good. Must never believe a list that the server itself did not sign.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#retrieving-server-keys>

mod fetch;
mod list;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hearth_base::Millis;
use hearth_protocol::PublicKeys;
use hearth_store::{Batch, Error as StoreError, Family, Json, Table, View};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName};

use super::Peers;
pub use list::{KeyList, own_list};

/// Server to the newest list of its keys that it signed.
const LISTS: Table<String, Json<String>> = Table::new(203, "server_keys", Family::Records);

/// How many servers' lists are kept in memory.
const CACHED: usize = 10_000;

/// How many servers are asked for keys at once.
const AT_ONCE: usize = 16;

/// How many servers one check may ask for.
const MAX_SERVERS: usize = 1000;

/// How long a server whose keys cannot be had is not asked again: at first, and after many failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// How long a list that lacks a key is not fetched again.
const LACKING_PAUSE: Duration = Duration::from_secs(60);

/// Which keys are needed: of each server, key id and the moment at which it has to be good.
pub type Wanted = BTreeMap<OwnedServerName, BTreeMap<OwnedServerSigningKeyId, Millis>>;

/// What is known of other servers' keys.
pub(crate) struct Keyring {
    lists: Cache<OwnedServerName, Arc<KeyList>>,
    /// Since when and how often a server's keys could not be had.
    pauses: Cache<OwnedServerName, (u32, Millis)>,
    /// One at a time asks for the keys of a server.
    asking: Mutex<BTreeMap<OwnedServerName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Keyring {
    pub(crate) fn new() -> Self {
        Self {
            lists: Cache::new(CACHED),
            pauses: Cache::new(CACHED),
            asking: Mutex::default(),
        }
    }
}

impl Peers {
    /// The wanted keys, as far as they can be had: for `verify_event` and `verify_json`. A key that is not good at its
    /// moment is left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn keys(&self, wanted: &Wanted) -> Result<PublicKeys, StoreError> {
        let mut found = PublicKeys::new();
        for (server, list) in self.lists(wanted).await? {
            let own = found.entry(server.as_str().to_owned()).or_default();
            for (id, moment) in wanted.get(&server).into_iter().flatten() {
                if let Some(key) = list.key_at(id, *moment) {
                    own.insert(id.as_str().to_owned(), key.clone());
                }
            }
        }
        Ok(found)
    }

    /// The lists of the servers, as far as they can be had.
    pub(crate) async fn lists(
        &self,
        wanted: &Wanted,
    ) -> Result<BTreeMap<OwnedServerName, Arc<KeyList>>, StoreError> {
        let asked = wanted
            .iter()
            .take(MAX_SERVERS)
            .map(|(server, keys)| async move {
                let least = keys.values().copied().max().unwrap_or_default();
                let ids: BTreeSet<_> = keys.keys().cloned().collect();
                let list = self.list(server, &ids, least).await?;
                Ok::<_, StoreError>((server, list))
            });
        let asked: Vec<_> = asked.collect();
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let mut lists = BTreeMap::new();
        while let Some(answer) = answers.next().await {
            if let (server, Some(list)) = answer? {
                lists.insert(server.clone(), list);
            }
        }
        Ok(lists)
    }

    /// The server's list, one that holds the keys and is good at `moment` if that can be had, else the best known.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(
        &self,
        server: &ServerName,
        ids: &BTreeSet<OwnedServerSigningKeyId>,
        moment: Millis,
    ) -> Result<Option<Arc<KeyList>>, StoreError> {
        if *server == self.0.settings.server_name {
            return Ok(self.own_keys());
        }
        let fits = |list: &Arc<KeyList>| ids.iter().all(|id| list.key_at(id, moment).is_some());
        let known = self.known_list(server).await?;
        if known
            .as_ref()
            .is_some_and(|list| fits(list) && (!ids.is_empty() || list.valid_until >= moment))
        {
            return Ok(known);
        }
        let gate = self.gate(server);
        let _alone = gate.lock().await;
        // Whoever held the gate before may have fetched it.
        let known = self.known_list(server).await?;
        if known
            .as_ref()
            .is_some_and(|list| fits(list) && (!ids.is_empty() || list.valid_until >= moment))
        {
            return Ok(known);
        }
        let now = self.0.clock.now();
        if let Some((_, until)) = self.0.keyring.pauses.get(server)
            && until > now
        {
            return Ok(known);
        }
        let fetched = self.fetch_list(server, ids, now).await;
        self.pause(
            server,
            now,
            fetched.as_ref().is_some_and(fits),
            fetched.is_some(),
        );
        match fetched {
            Some(list) => {
                self.keep(server, &list).await?;
                Ok(Some(list))
            }
            None => Ok(known),
        }
    }

    /// The list that was kept, whatever its age.
    async fn known_list(&self, server: &ServerName) -> Result<Option<Arc<KeyList>>, StoreError> {
        if let Some(list) = self.0.keyring.lists.get(server) {
            return Ok(Some(list));
        }
        let view: View = self.0.store.view().await?;
        let Some(Json(text)) = view.get(&LISTS, server.as_str()).await? else {
            return Ok(None);
        };
        let list = KeyList::kept(server, &text)
            .map(Arc::new)
            .map_err(|e| StoreError::Corrupt(format!("the kept keys of {server}: {e}")))?;
        self.0.keyring.lists.insert(server.to_owned(), list.clone());
        Ok(Some(list))
    }

    async fn keep(&self, server: &ServerName, list: &Arc<KeyList>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&LISTS, server.as_str(), Json(list.kept_form()));
        self.0.keyring.lists.insert(server.to_owned(), list.clone());
        match self.0.store.commit(batch).await {
            Ok(_) | Err(hearth_store::CommitError::Conflict) => Ok(()),
            Err(hearth_store::CommitError::Failed(error)) => Err(error),
        }
    }

    fn pause(&self, server: &ServerName, now: Millis, fits: bool, answered: bool) {
        let pauses = &self.0.keyring.pauses;
        if fits {
            pauses.remove(server);
            return;
        }
        let (count, _) = pauses.get(server).unwrap_or_default();
        let pause = match answered {
            true => LACKING_PAUSE,
            false => FIRST_PAUSE
                .saturating_mul(1 << count.min(10))
                .min(MOST_PAUSE),
        };
        pauses.insert(
            server.to_owned(),
            (count.saturating_add(1), now.after(pause)),
        );
    }

    /// The server spoke to us: its keys may be asked for again at once.
    pub(crate) fn forget_pause(&self, server: &ServerName) {
        if self
            .0
            .keyring
            .pauses
            .get(server)
            .is_some_and(|(count, _)| count > 1)
        {
            self.0.keyring.pauses.remove(server);
        }
    }

    fn gate(&self, server: &ServerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.0.keyring.asking.lock();
        if asking.len() >= CACHED {
            asking.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        asking.entry(server.to_owned()).or_default().clone()
    }
}
