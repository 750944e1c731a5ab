//! Looking after the past: how far it must reach back, and removing what is older.
//!
//! No clock of any machine is compared with another's. A process notes the version that it saw at a moment of its own. A
//! view of an earlier version, on whatever node, was taken before that moment. So once that moment lies as long ago as
//! a view may live, nobody needs the past below the noted version.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    committer::HoldChange,
    connection::Failure,
    transaction::{GroupId, Session, within},
    view::Head,
};

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many moments are noted within the life of a view.
const MOMENTS: u32 = 20;

/// How many versions are removed at once, beside twice as many as came since the last time.
const SLICE: i64 = 200;

/// What is known of the past.
#[derive(Default)]
pub(super) struct Tending {
    view_life: Duration,
    /// Which version was seen when; the oldest first.
    moments: VecDeque<(Instant, i64)>,
    /// At the last look.
    newest: i64,
    /// Up to which version the past need not be kept, as far as was told to the database.
    told: i64,
    /// More is to be removed.
    more: bool,
}

impl Tending {
    pub(super) fn new(view_life: Duration) -> Self {
        Self {
            view_life,
            ..Self::default()
        }
    }

    /// Notes that the newest version is `newest`; whether there is anything to do.
    pub(super) fn has_work(&mut self, newest: i64) -> bool {
        let now = Instant::now();
        let step = self.view_life / MOMENTS;
        let due = self
            .moments
            .back()
            .is_none_or(|(at, version)| *version < newest && now.duration_since(*at) >= step);
        if due && newest > 0 {
            self.moments.push_back((now, newest));
        }
        self.more || self.outlived() > self.told || self.newest < newest
    }

    /// The newest version that no living view can be older than.
    fn outlived(&self) -> i64 {
        let now = Instant::now();
        let old = self
            .moments
            .iter()
            .take_while(|(at, _)| now.duration_since(*at) > self.view_life);
        old.last().map_or(0, |(_, version)| *version)
    }

    /// Does a bounded piece of what is to be done.
    pub(super) async fn work(&mut self, session: &Session) -> Result<(), Failure> {
        let outlived = self.outlived();
        if outlived > self.told {
            session.keep_from(outlived).await?;
            self.told = outlived;
            while self
                .moments
                .get(1)
                .is_some_and(|(_, version)| *version <= outlived)
            {
                self.moments.pop_front();
            }
        }
        let newest = self.moments.back().map_or(0, |(_, version)| *version);
        let slice = SLICE + 2 * (newest - self.newest).max(0);
        self.newest = newest;
        self.more = session.prune(slice).await?;
        Ok(())
    }
}

impl Session {
    /// Tells the database that views of versions below `version` are over, unless a hold needs them.
    async fn keep_from(&self, version: i64) -> Result<(), Failure> {
        let (client, writing) = (&self.line.client, &self.writing);
        self.lock().await?;
        let told = async {
            // A hold whose holder has not spoken since is nobody's.
            client.execute(&writing.dead_holds, &[&version]).await?;
            client.execute(&writing.keep, &[&version]).await?;
            client.execute(&writing.old_groups, &[&version]).await?;
            Ok(client.batch_execute("COMMIT").await?)
        };
        within(PATIENCE, told).await
    }

    /// Removes up to `slice` versions of the past that nobody needs; whether there are more.
    async fn prune(&self, slice: i64) -> Result<bool, Failure> {
        let (client, writing) = (&self.line.client, &self.writing);
        let pruned = async {
            let row = client.query_one(&writing.kept, &[]).await?;
            let (kept, pruned): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            if pruned >= kept {
                return Ok(false);
            }
            let end = kept.min(pruned + slice);
            client.batch_execute("BEGIN").await?;
            // Of many nodes one gets the piece.
            if client.execute(&writing.claim, &[&pruned, &end]).await? == 1 {
                client.execute(&writing.prune, &[&pruned, &end]).await?;
            }
            client.batch_execute("COMMIT").await?;
            Ok(end < kept)
        };
        within(PATIENCE, pruned).await
    }

    /// Makes, renews or releases the hold called `id`.
    pub(super) async fn hold(&self, id: &GroupId, change: HoldChange) -> Result<Head, Failure> {
        let (client, writing) = (&self.line.client, &self.writing);
        let id = id.as_slice();
        let head = self.lock().await?;
        let done = async {
            match change {
                HoldChange::Keep => client.execute(&writing.hold, &[&id, &head.version]).await?,
                HoldChange::Release => client.execute(&writing.release, &[&id]).await?,
            };
            client.batch_execute("COMMIT").await?;
            Ok(head)
        };
        within(PATIENCE, done).await
    }
}
