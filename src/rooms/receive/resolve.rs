//! Owns the state where branches of a room meet. Must never look at more of two states than what differs, save for what
//! vouches for it.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/v2/#state-resolution>

use std::collections::{BTreeSet, HashMap};

use hearth_protocol::{Conflict, Pdu, StateMap, auth_types, create_id, resolve_conflict};
use ruma::OwnedEventId;
use tokio::task::spawn_blocking;

use super::difference::Among;
use crate::{Error, plan::Plan, state::Root};

/// In how many places states may differ, each counted as often as there is something different there, or nothing.
const MAX_DIFFERENT: usize = 600_000;

/// An entry of a state.
type Key = (String, String);

/// Where states differ: for each entry the events that are there, or nothing, and in which states.
pub(super) type Differing = HashMap<Key, HashMap<Option<OwnedEventId>, Among>>;

/// What it took to resolve states.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resolution {
    /// The state that came out.
    pub(crate) state: Root,
    /// How many states there were, equal ones left out.
    pub(crate) states: usize,
    /// At how many entries they differ.
    pub(crate) entries: usize,
    /// How many events vouch for some of the states alone, and are at no such entry.
    pub(crate) difference: usize,
    /// How many events the algorithm was given.
    pub(crate) loaded: usize,
    /// How many events were looked at besides, to see whom they vouch for.
    pub(crate) walked: usize,
}

impl Plan {
    /// The state that several states give: where they differ, what the algorithm of the room version decides.
    pub(crate) async fn resolved(&mut self, roots: &[Root]) -> Result<Root, Error> {
        Ok(self.resolution(roots).await?.state)
    }

    pub(crate) async fn resolution(&mut self, roots: &[Root]) -> Result<Resolution, Error> {
        let mut roots = roots.to_vec();
        roots.sort_unstable();
        roots.dedup();
        let mut resolution = Resolution {
            states: roots.len(),
            ..Resolution::default()
        };
        let Some((first, others)) = roots.split_first() else {
            return Ok(resolution);
        };
        if others.is_empty() {
            resolution.state = *first;
            return Ok(resolution);
        }
        metrics::counter!("hearth_state_resolutions_total").increment(1);
        let differing = self.differing(*first, others).await?;
        let mut vouching = self.vouching(&differing, roots.len()).await?;
        let difference = match self.head.version.has_first_resolution() {
            true => Vec::new(),
            false => self.difference(&mut vouching, &differing, *first).await?,
        };
        let mut conflict = Conflict {
            agreed: StateMap::new(),
            entries: HashMap::with_capacity(differing.len()),
            difference: difference.into_iter().collect(),
        };
        for (key, events) in differing {
            let events: BTreeSet<_> = events.into_keys().flatten().collect();
            conflict.entries.insert(key, events);
        }
        let mut loaded = vouching.events;
        conflict.agreed = self.agreed(*first, &conflict, &mut loaded).await?;
        resolution.entries = conflict.entries.len();
        resolution.difference = conflict.difference.len();
        resolution.loaded = loaded.len();
        resolution.walked = vouching.walked;
        metrics::counter!("hearth_state_resolution_events_total")
            .increment((resolution.loaded + resolution.walked) as u64);
        let keys: Vec<Key> = conflict.entries.keys().cloned().collect();
        let version = self.head.version;
        let decided = spawn_blocking(move || {
            resolve_conflict(version, conflict, |id| loaded.get(id).cloned())
        });
        let mut decided = decided
            .await
            .map_err(|e| Error::corrupt(format!("a state could not be resolved: {e}")))?
            .map_err(|e| Error::corrupt(e.to_string()))?;
        let changes: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let id = decided.remove(&key);
                (key.0, key.1, id)
            })
            .collect();
        resolution.state = self.updated(*first, &changes).await?;
        tracing::debug!(
            states = resolution.states,
            entries = resolution.entries,
            difference = resolution.difference,
            loaded = resolution.loaded,
            walked = resolution.walked,
            "resolved"
        );
        Ok(resolution)
    }

    /// Where the states differ. The number of the first is 0, those of the others follow.
    async fn differing(&self, first: Root, others: &[Root]) -> Result<Differing, Error> {
        let count = others.len() + 1;
        let (tree, number) = (&self.rooms.0.tree, self.head.number);
        let mut differing = Differing::new();
        let mut different = 0;
        for (index, other) in others.iter().enumerate() {
            let nodes = (&self.view, &self.overlay);
            let mut changes = tree.compare(nodes, number, first, *other);
            while let Some(page) = changes.next_page().await? {
                for change in page {
                    let key = (change.event_type, change.state_key);
                    let events = differing.entry(key).or_default();
                    let before = events.len();
                    let old = events.entry(change.old);
                    old.or_insert_with(|| Among::all(count)).remove(index + 1);
                    let new = events.entry(change.new);
                    new.or_insert_with(|| Among::none(count)).add(index + 1);
                    different += events.len() - before;
                }
                if different > MAX_DIFFERENT {
                    return Err(Error::corrupt("states differ in too many places"));
                }
            }
        }
        Ok(differing)
    }

    /// The entries on which the states agree and for which the rules on any event in question ask. Their events are loaded, and
    /// those that the mainline leads over.
    async fn agreed(
        &self,
        first: Root,
        conflict: &Conflict,
        loaded: &mut HashMap<OwnedEventId, Pdu>,
    ) -> Result<StateMap, Error> {
        let mut keys: BTreeSet<Key> = ["m.room.create", "m.room.power_levels", "m.room.join_rules"]
            .map(|event_type| (event_type.to_owned(), String::new()))
            .into();
        let in_question = conflict.entries.values().flatten();
        for id in in_question.chain(&conflict.difference) {
            let Some(pdu) = loaded.get(id) else { continue };
            let types = auth_types(
                pdu.event_type(),
                pdu.sender(),
                pdu.state_key(),
                pdu.content(),
                self.head.version,
            );
            keys.extend(types.into_iter().flatten());
        }
        let mut agreed = StateMap::with_capacity(keys.len());
        for key in keys {
            if conflict.entries.contains_key(&key) {
                continue;
            }
            if let Some(id) = self.state_id(first, &key.0, &key.1).await? {
                agreed.insert(key, id);
            }
        }
        let room_id = self.room_id.as_ref();
        let create = room_id.and_then(|id| create_id(self.head.version, id));
        let wanted: Vec<_> = agreed.values().cloned().chain(create).collect();
        self.load(&wanted, loaded).await?;
        let levels = ("m.room.power_levels".to_owned(), String::new());
        let mut next = agreed.get(&levels).cloned();
        while let Some(pdu) = next.take().and_then(|id| loaded.get(&id).cloned()) {
            self.load(pdu.auth_events(), loaded).await?;
            let is_levels = |id: &&OwnedEventId| {
                let pdu = loaded.get(*id);
                pdu.is_some_and(|pdu| pdu.is(&levels.0, ""))
            };
            next = pdu.auth_events().iter().find(is_levels).cloned();
        }
        Ok(agreed)
    }

    /// Loads the events that are not loaded yet. One that is missing is left out.
    async fn load(
        &self,
        ids: &[OwnedEventId],
        loaded: &mut HashMap<OwnedEventId, Pdu>,
    ) -> Result<(), Error> {
        let missing = ids.iter().filter(|id| !loaded.contains_key(*id));
        let missing: Vec<_> = missing.cloned().collect();
        let found = self.pdus(&missing, true).await?;
        let found = missing.into_iter().zip(found);
        loaded.extend(found.filter_map(|(id, pdu)| Some((id, pdu?))));
        Ok(())
    }
}
