//! Leases: which node does what must be done once.
//!
//! A lease is an assertion. Whoever holds it has its *epoch*, and each batch of the work under it asserts that: after
//! somebody else took the lease over, nothing of the former holder is applied any more, however late it comes.
//!
//! A node is known by a record and lives as long as its beat moves, once a second, whatever the number of its leases. The
//! others watch: if a beat stands still for as long as [`PATIENCE`] by the watcher's own clock, they strike the node off and
//! free its leases in one batch. No two machines' clocks are compared, and a node that was only slow loses its leases,
//! never its correctness. Free leases go to those who have the fewest. Over an engine of a single process there is nobody to
//! watch: it takes everything at once and writes no beats.
//!
//! | file | what |
//! |---|---|
//! | `roster.rs` | who lives and holds what, as stored, and who is next |
//! | `keeper.rs` | the task that beats, watches, takes and hands over |

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use self::{keeper::Keeper, roster::Roster};
use crate::{Batch, Error, Part, ReadPart, Reader, Store, View, Writer};

mod keeper;
mod roster;
#[cfg(test)]
pub(crate) mod tests;

/// How often a node gives a sign of life.
const BEAT: Duration = Duration::from_secs(1);

/// How often it looks at the others.
const LOOK: Duration = Duration::from_millis(500);

/// How long a beat may stand still. A dead node is replaced within two looks and a commit more.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Names a node of a cluster: random, new at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 8]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Counts how many times a lease was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the program.
    pub version: String,
    /// Where it is, for people.
    pub address: String,
    /// When it started, in milliseconds since the epoch.
    pub started: u64,
    /// The newest form of records that it knows.
    #[serde(default)]
    pub schema: u32,
}

/// A node that lives, as far as was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// What it says of itself.
    pub about: About,
    /// The leases that it holds, by name.
    pub leases: Vec<(String, Epoch)>,
}

/// A lease as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    epoch: Epoch,
    /// `None`: given back.
    holder: Option<NodeId>,
}

impl Part for Lease {
    fn write(&self, to: &mut Writer) {
        to.raw(&self.epoch.0.to_be_bytes());
        if let Some(holder) = self.holder {
            to.raw(&holder.0);
        }
    }
}

impl ReadPart for Lease {
    fn read(from: &mut Reader<'_>) -> Result<Self, Error> {
        let epoch = Epoch(u64::read(from)?);
        let holder = match from.0.is_empty() {
            true => None,
            false => Some(NodeId(<[u8; 8]>::read(from)?)),
        };
        Ok(Self { epoch, holder })
    }
}

/// A lease that is held, as far as its holder knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    name: Arc<str>,
    node: NodeId,
    epoch: Epoch,
}

impl Held {
    /// The epoch, which no other holder ever has.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// `batch` fails with a conflict if the lease is another's by then.
    pub fn assert(&self, batch: &mut Batch) {
        batch.assert_equals(&roster::LEASES, &*self.name, self.record());
    }

    fn record(&self) -> Lease {
        Lease {
            epoch: self.epoch,
            holder: Some(self.node),
        }
    }
}

/// A lease that is tried for: the lease, whenever it is held; changes are told.
pub type Kept = watch::Receiver<Option<Held>>;

/// How fast a node lives.
#[derive(Clone, Copy, Debug)]
struct Tempo {
    beat: Duration,
    look: Duration,
    patience: Duration,
}

const TEMPO: Tempo = Tempo {
    beat: BEAT,
    look: LOOK,
    patience: PATIENCE,
};

/// What the keeper and its clients share.
struct Shared {
    store: Store,
    node: NodeId,
    about: About,
    tempo: Tempo,
    /// Others may write to the store.
    has_others: bool,
    /// By name the leases that are tried for.
    wanted: Mutex<BTreeMap<Arc<str>, watch::Sender<Option<Held>>>>,
    /// Rung when a lease was added to those.
    bell: Notify,
    /// Counts what was told, of any lease.
    changes: watch::Sender<u64>,
    ending: watch::Sender<bool>,
}

/// The leases of a node. Cheap to clone. Dropped without [`Leases::leave`], it is a death: others wait for the beat.
#[derive(Clone)]
pub struct Leases {
    shared: Arc<Shared>,
    task: Arc<Mutex<Option<Task>>>,
}

/// Ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Leases {
    /// Enters the node `node` among those over `store`, and keeps it there.
    ///
    /// Has to be called inside of a runtime.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn join(store: Store, node: NodeId, about: About) -> Result<Self, Error> {
        let has_others = store.engine().concerned(None).await?.is_some();
        Ok(Self::begin(store, node, about, (has_others, TEMPO)))
    }

    fn begin(store: Store, node: NodeId, about: About, (has_others, tempo): (bool, Tempo)) -> Self {
        let shared = Arc::new(Shared {
            store,
            node,
            about,
            tempo,
            has_others,
            wanted: Mutex::default(),
            bell: Notify::new(),
            changes: watch::Sender::new(0),
            ending: watch::Sender::new(false),
        });
        let task = tokio::spawn(Keeper::new(shared.clone()).run());
        Self {
            shared,
            task: Arc::new(Mutex::new(Some(Task(task)))),
        }
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Tries for the lease `name` from now on, and again when it is lost. One keeping a name: a second one ends the first.
    #[must_use]
    pub fn keep(&self, name: &str) -> Kept {
        let (told, state) = watch::channel(None);
        self.shared.wanted.lock().insert(name.into(), told);
        self.shared.bell.notify_one();
        state
    }

    /// Told whenever any of the leases came or went.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Gives everything back, so that others take it at once, and takes the node off the list.
    pub async fn leave(&self) {
        self.shared.ending.send_replace(true);
        let task = self.task.lock().take();
        if let Some(mut task) = task {
            // Whatever happened to the task: it does not beat any more.
            (&mut task.0).await.ok();
        }
    }
}

/// Waits until the lease is held; `None` if it never will be.
pub async fn held(kept: &mut Kept) -> Option<Held> {
    kept.wait_for(Option::is_some).await.ok()?.clone()
}

/// The nodes that live, as far as was seen by `view`, by name.
///
/// # Errors
/// Those of the store.
pub async fn members(view: &View) -> Result<Vec<Member>, Error> {
    Ok(Roster::read(view).await?.members())
}
