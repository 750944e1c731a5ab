//! Owns the simulated servers, what is on its way between them, and when it arrives. Must never decide what users do.

use std::{collections::BTreeMap, sync::Arc};

use hearth_base::{ManualClock, Millis, Rng, SeededRng};
use hearth_protocol::{PublicKeys, RoomVersion, SigningKey, federation_json};
use hearth_rooms::{Error, RemoteTransaction, Rooms};
use hearth_store::{Batch, CommitError, MemoryHints, Store, engines::rocksdb};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::{
    Failure,
    link::{Link, Wire},
};

/// How many users a server has.
pub(crate) const USERS: usize = 2;

/// For how many steps an event is on its way at most.
const MOST_DELAY: u64 = 12;

/// How often is looked whether all servers are done, before that is an error.
const PATIENCE: usize = 200_000;

/// A simulated server.
pub(crate) struct Peer {
    pub(crate) name: OwnedServerName,
    pub(crate) rooms: Rooms,
    pub(crate) key: Arc<SigningKey>,
    store: Store,
}

/// An event on its way.
struct Letter {
    due: u64,
    from: usize,
    to: usize,
    event: Box<RawValue>,
}

/// The servers and the room that they share.
pub(crate) struct World {
    pub(crate) peers: Vec<Peer>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) clock: ManualClock,
    pub(crate) rng: SeededRng,
    pub(crate) version: RoomVersion,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) step: u64,
    letters: Vec<Letter>,
    /// Whether what cannot be sent during a partition is dropped but for the newest event.
    forgetful: bool,
    sent: u64,
    _folder: TempDir,
}

impl World {
    /// As many servers as the seed says, at a room version that it says.
    pub(crate) fn new(seed: u64) -> Result<Self, Failure> {
        let rng = SeededRng::new(seed);
        let folder = TempDir::with_prefix("convergence-")?;
        let clock = ManualClock::at(Millis(1_700_000_000_000));
        let wire = Arc::new(Wire::default());
        // Small companies are the rule, large ones the exception.
        let most = [3, 4, 6, 10, 20][pick(&rng, 5)];
        let count = 2 + pick(&rng, most - 1);
        // The first version's resolution depends on which branch is looked at first.
        let version = RoomVersion::ALL[1 + pick(&rng, RoomVersion::ALL.len() - 1)];
        let mut world = Self {
            peers: Vec::with_capacity(count),
            wire,
            clock,
            version,
            room_id: None,
            step: 0,
            letters: Vec::new(),
            forgetful: pick(&rng, 2) == 0,
            sent: 0,
            rng,
            _folder: folder,
        };
        for index in 0..count {
            world.add_peer(index)?;
        }
        Ok(world)
    }

    fn add_peer(&mut self, index: usize) -> Result<(), Failure> {
        let name = OwnedServerName::try_from(format!("s{index}.test"))?;
        let mut secret = [0; 32];
        self.rng.fill(&mut secret);
        let key = Arc::new(SigningKey::generate(&name, "ed25519:a", secret)?);
        let path = self._folder.path().join(format!("{index}"));
        let options = rocksdb::Options {
            block_cache_bytes: 4 << 20,
            relaxed: true,
            readers: 1,
            ..rocksdb::Options::at(path)
        };
        let store = Store::new(rocksdb::open(options)?, Arc::new(MemoryHints::new(|| 0)));
        let rooms = Rooms::new(
            store.clone(),
            Arc::new(self.clock.clone()),
            Arc::new(SeededRng::new(self.rng.number())),
            key.clone(),
            name.clone(),
            hearth_rooms::Memory::default(),
        );
        rooms.connect(Arc::new(Link {
            own: name.clone(),
            wire: Arc::downgrade(&self.wire),
        }));
        let mut keys: parking_lot::MutexGuard<'_, PublicKeys> = self.wire.keys.lock();
        let own = keys.entry(name.to_string()).or_default();
        own.insert(key.id().to_string(), key.verify_key());
        self.wire.servers.lock().insert(name.clone(), rooms.clone());
        self.wire.sides.lock().insert(name.clone(), 0);
        drop(keys);
        self.peers.push(Peer {
            name,
            rooms,
            key,
            store,
        });
        Ok(())
    }

    /// A number below `end`.
    pub(crate) fn pick(&self, end: usize) -> usize {
        pick(&self.rng, end)
    }

    /// A user of a server.
    pub(crate) fn user(&self, peer: usize, number: usize) -> Result<OwnedUserId, Failure> {
        let name = &self.peers[peer].name;
        Ok(UserId::parse(format!("@u{number}:{name}"))?)
    }

    /// The room, which is made before anything else.
    pub(crate) fn room(&self) -> Result<OwnedRoomId, Failure> {
        Ok(self.room_id.clone().ok_or("there is no room")?)
    }

    /// Cuts the servers into two sides by chance, or heals the cut.
    pub(crate) fn cut(&self, sides: usize) {
        for side in self.wire.sides.lock().values_mut() {
            *side = self.pick(sides);
        }
    }

    /// Puts on their way the events that servers have for others.
    pub(crate) async fn collect(&mut self) -> Result<(), Failure> {
        for from in 0..self.peers.len() {
            loop {
                let (rooms, store) = (
                    self.peers[from].rooms.clone(),
                    self.peers[from].store.clone(),
                );
                let view = store.view().await?;
                let page = rooms.outgoing(&view, 64).await?;
                if page.is_empty() {
                    break;
                }
                for item in &page {
                    let Some(event) = rooms.event(&view, &item.event_id).await? else {
                        continue;
                    };
                    let mut targets = rooms.servers(&view, &item.room_id, 100).await?;
                    let target = event
                        .pdu
                        .state_key()
                        .and_then(|key| UserId::parse(key).ok());
                    targets.extend(target.map(|user| user.server_name().to_owned()));
                    targets.sort_unstable();
                    targets.dedup();
                    let json = federation_json(&event.pdu);
                    for server in targets {
                        if server != event.pdu.sender().server_name() {
                            self.post(from, &server, json.clone());
                        }
                    }
                }
                let mut batch = Batch::new();
                Rooms::plan_distributed(&mut batch, &page);
                match store.commit(batch).await {
                    Ok(_) | Err(CommitError::Conflict) => {}
                    Err(CommitError::Failed(error)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Puts an event on its way; sometimes twice.
    pub(crate) fn post(&mut self, from: usize, to: &ServerName, event: Box<RawValue>) {
        let Some(to) = self.peers.iter().position(|peer| peer.name == to) else {
            return;
        };
        if to == from {
            return;
        }
        let copies = 1 + usize::from(self.pick(10) == 0);
        for _ in 0..copies {
            let delay = match self.pick(3) {
                0 => 0,
                _ => self.pick(MOST_DELAY as usize) as u64,
            };
            let event = event.clone();
            let due = self.step + delay;
            self.letters.push(Letter {
                due,
                from,
                to,
                event,
            });
        }
    }

    /// Delivers what is due, in any order; what a partition holds back comes later, or is dropped but for the newest. All
    /// of it, if `all`.
    pub(crate) async fn deliver(&mut self, all: bool) -> Result<(), Failure> {
        let mut due = Vec::new();
        let mut left: Vec<Letter> = Vec::new();
        for letter in std::mem::take(&mut self.letters) {
            let (from, to) = (&self.peers[letter.from].name, &self.peers[letter.to].name);
            if !self.wire.connects(from, to) {
                if self.forgetful {
                    // The newest event leads to those before it.
                    left.retain(|old| (old.from, old.to) != (letter.from, letter.to));
                }
                left.push(Letter {
                    due: self.step + 1,
                    ..letter
                });
            } else if all || letter.due <= self.step {
                due.push(letter);
            } else {
                left.push(letter);
            }
        }
        self.letters = left;
        let mut parcels: BTreeMap<(usize, usize), Vec<Box<RawValue>>> = BTreeMap::new();
        while !due.is_empty() {
            let letter = due.swap_remove(self.pick(due.len()));
            let parcel = parcels.entry((letter.from, letter.to)).or_default();
            parcel.push(letter.event);
        }
        let mut parcels: Vec<_> = parcels.into_iter().collect();
        while !parcels.is_empty() {
            let ((from, to), events) = parcels.swap_remove(self.pick(parcels.len()));
            self.sent += 1;
            let transaction = RemoteTransaction {
                origin: self.peers[from].name.clone(),
                id: self.sent.to_string(),
                events,
            };
            self.peers[to].rooms.take_over(transaction).await?;
        }
        self.settle().await
    }

    /// Has servers fetch the members of rooms that they joined without, where they can: some by chance, or all of them.
    pub(crate) async fn complete(&self, all: bool) -> Result<(), Failure> {
        for peer in &self.peers {
            for room_id in peer.rooms.to_complete().await? {
                if !all && self.pick(3) != 0 {
                    continue;
                }
                let mut done = peer.rooms.complete(&room_id, 0).await;
                if all && done.is_err() {
                    done = peer.rooms.complete(&room_id, u32::MAX).await;
                }
                // Otherwise nobody who can be asked may tell this one, now or ever.
                if let Err(error @ Error::Store(_)) = done {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Whether something is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.letters.is_empty()
    }

    /// Waits until all servers have worked off what came in.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if !self.peers.iter().any(|peer| peer.rooms.is_working()) {
                return Ok(());
            }
            tokio::task::yield_now().await;
            if self.peers.iter().any(|peer| peer.rooms.is_working()) {
                tokio::time::sleep(std::time::Duration::from_micros(50)).await;
            }
        }
        Err("the servers do not come to rest".into())
    }

    /// Closes the stores.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        for peer in &self.peers {
            peer.store.engine().close().await?;
        }
        Ok(())
    }
}

/// A number below `end`.
pub(crate) fn pick(rng: &SeededRng, end: usize) -> usize {
    let end = end.max(1) as u64;
    usize::try_from(rng.number() % end).unwrap_or(0)
}

/// An id that no event has.
pub(crate) fn nowhere(world: &World) -> Result<OwnedEventId, Failure> {
    let id = match world.version.has_explicit_event_ids() {
        true => format!("${}:s0.test", world.rng.opaque(18)),
        false => format!("${}", world.rng.opaque(43)),
    };
    Ok(OwnedEventId::try_from(id)?)
}
