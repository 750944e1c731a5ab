//! Owns the state where branches of a room meet. Must never look at more of two states than what differs, save for what
//! vouches for it.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#state-resolution>

use std::collections::{BTreeSet, HashMap, HashSet};

use hearth_protocol::{Pdu, StateMap, auth_types, conflicted_subgraph, create_id, resolve};
use ruma::OwnedEventId;
use tokio::task::spawn_blocking;

use crate::{Error, plan::Plan, state::Root};

/// How many auth events of one resolution are loaded.
const MAX_LOADED: usize = 300_000;

/// How many events are read together.
const TOGETHER: usize = 256;

/// Entries of a state.
type Keys = BTreeSet<(String, String)>;

impl Plan {
    /// The state that several states give: where they differ, what the algorithm of the room version decides.
    pub(crate) async fn resolved(&mut self, roots: &[Root]) -> Result<Root, Error> {
        let mut roots = roots.to_vec();
        roots.sort_unstable();
        roots.dedup();
        let Some((first, others)) = roots.split_first() else {
            return Ok(Root::EMPTY);
        };
        if others.is_empty() {
            return Ok(*first);
        }
        metrics::counter!("hearth_state_resolutions_total").increment(1);
        let mut conflicted = Keys::new();
        for other in others {
            for change in self.differences(*first, *other).await? {
                conflicted.insert((change.event_type, change.state_key));
            }
        }
        let mut loaded = HashMap::new();
        let chains = self.chains(&roots, &mut loaded).await?;
        let keys = self
            .keys_of_interest(&roots, &conflicted, &chains, &loaded)
            .await?;
        let mut states = Vec::with_capacity(roots.len());
        for root in &roots {
            states.push(self.entries(*root, &keys).await?);
        }
        let version = self.head.version;
        let decided = spawn_blocking(move || {
            let fetch = |id: &ruma::EventId| loaded.get(id).cloned();
            resolve(version, &states, chains, fetch, |conflicted| {
                conflicted_subgraph(conflicted, fetch)
            })
        });
        let decided = decided
            .await
            .map_err(|e| Error::corrupt(format!("a state could not be resolved: {e}")))?
            .map_err(|e| Error::corrupt(e.to_string()))?;
        let changes: Vec<_> = conflicted
            .into_iter()
            .map(|(event_type, state_key)| {
                let id = decided
                    .get(&(event_type.clone(), state_key.clone()))
                    .cloned();
                (event_type, state_key, id)
            })
            .collect();
        self.updated(*first, &changes).await
    }

    /// For each state all its events and what vouches for them, which `loaded` then holds.
    async fn chains(
        &self,
        roots: &[Root],
        loaded: &mut HashMap<OwnedEventId, Pdu>,
    ) -> Result<Vec<HashSet<OwnedEventId>>, Error> {
        let mut chains = Vec::with_capacity(roots.len());
        for root in roots {
            let mut chain: HashSet<OwnedEventId> = self
                .state_ids(*root)
                .await?
                .into_iter()
                .map(|(_, _, id)| id)
                .collect();
            let create = self
                .room_id
                .as_ref()
                .and_then(|id| create_id(self.head.version, id));
            let mut open: Vec<OwnedEventId> = chain.iter().cloned().chain(create).collect();
            while !open.is_empty() {
                let next = open.split_off(open.len().saturating_sub(TOGETHER));
                self.load(&next, loaded).await?;
                for id in next {
                    let named = loaded.get(&id).map(|pdu| pdu.auth_events().to_vec());
                    for auth_event in named.unwrap_or_default() {
                        if chain.insert(auth_event.clone()) {
                            open.push(auth_event);
                        }
                    }
                }
                if loaded.len() > MAX_LOADED {
                    return Err(Error::corrupt("too many events vouch for a state"));
                }
            }
            chains.push(chain);
        }
        Ok(chains)
    }

    /// Loads the events that are not loaded yet. One that is missing is left out: its path ends there.
    async fn load(
        &self,
        ids: &[OwnedEventId],
        loaded: &mut HashMap<OwnedEventId, Pdu>,
    ) -> Result<(), Error> {
        for id in ids {
            if loaded.contains_key(id) {
                continue;
            }
            if let Some(event) = self.event(id).await? {
                loaded.insert(id.clone(), event.pdu.clone());
            }
        }
        Ok(())
    }

    /// The entries that the algorithm looks at: those that differ, and those that the rules on any event in question ask
    /// for.
    async fn keys_of_interest(
        &self,
        roots: &[Root],
        conflicted: &Keys,
        chains: &[HashSet<OwnedEventId>],
        loaded: &HashMap<OwnedEventId, Pdu>,
    ) -> Result<Keys, Error> {
        let mut keys = conflicted.clone();
        for event_type in ["m.room.create", "m.room.power_levels", "m.room.join_rules"] {
            keys.insert((event_type.to_owned(), String::new()));
        }
        let mut in_question: HashSet<OwnedEventId> = HashSet::new();
        for root in roots {
            in_question.extend(self.entries(*root, conflicted).await?.into_values());
        }
        for chain in chains {
            let others = |id: &&OwnedEventId| !chains.iter().all(|other| other.contains(*id));
            in_question.extend(chain.iter().filter(others).cloned());
        }
        for pdu in in_question.iter().filter_map(|id| loaded.get(id)) {
            let types = auth_types(
                pdu.event_type(),
                pdu.sender(),
                pdu.state_key(),
                pdu.content(),
                self.head.version,
            );
            keys.extend(types.into_iter().flatten());
        }
        Ok(keys)
    }

    async fn entries(&self, root: Root, keys: &Keys) -> Result<StateMap, Error> {
        let mut entries = StateMap::with_capacity(keys.len());
        for (event_type, state_key) in keys {
            if let Some(id) = self.state_id(root, event_type, state_key).await? {
                entries.insert((event_type.clone(), state_key.clone()), id);
            }
        }
        Ok(entries)
    }
}
