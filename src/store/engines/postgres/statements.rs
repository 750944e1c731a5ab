//! Every statement of this engine, and the tables they work on. Plain SQL that PostgreSQL, CockroachDB and YugabyteDB
//! share: arrays and `unnest`, `ON CONFLICT`, `FOR UPDATE`; no advisory locks, no notifications, no storage parameters.
//!
//! | table | what |
//! |---|---|
//! | `hearth_head` | one row: how many groups were written (`version`), where the log ends (`head`) |
//! | `hearth_now` | the newest value of every key, and the version that wrote it |
//! | `hearth_past` | values that were replaced or removed lately, with the versions between which they held |
//! | `hearth_kept` | one row: up to which version the past is gone |
//! | `hearth_groups` | which group wrote a version, and whom it concerned |
//! | `hearth_holds` | versions whose past must stay, for a backup that runs |

use tokio_postgres::{Client, Error, Statement};

/// The stored form that this version reads and writes.
pub(super) const FORM: i32 = 1;

/// Makes what is missing. One statement each, so that any of the databases takes them.
pub(super) const TABLES: [&str; 9] = [
    "CREATE TABLE IF NOT EXISTS hearth_head (id INT4 PRIMARY KEY, form INT4 NOT NULL, version INT8 NOT NULL, head INT8 NOT NULL)",
    "CREATE TABLE IF NOT EXISTS hearth_now (tbl INT2 NOT NULL, key BYTEA NOT NULL, version INT8 NOT NULL, value BYTEA NOT NULL, \
     PRIMARY KEY (tbl, key))",
    "CREATE TABLE IF NOT EXISTS hearth_past (tbl INT2 NOT NULL, key BYTEA NOT NULL, until INT8 NOT NULL, since INT8 NOT NULL, \
     value BYTEA NOT NULL, PRIMARY KEY (tbl, key, until))",
    "CREATE INDEX IF NOT EXISTS hearth_past_until ON hearth_past (until)",
    "CREATE TABLE IF NOT EXISTS hearth_kept (id INT4 PRIMARY KEY, kept INT8 NOT NULL, pruned INT8 NOT NULL)",
    "CREATE TABLE IF NOT EXISTS hearth_groups (version INT8 PRIMARY KEY, id BYTEA NOT NULL, hints BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS hearth_holds (id BYTEA PRIMARY KEY, version INT8 NOT NULL, beat INT8 NOT NULL)",
    "INSERT INTO hearth_kept (id, kept, pruned) VALUES (0, 0, 0) ON CONFLICT (id) DO NOTHING",
    // Last: whoever finds this row finds all of the above.
    "INSERT INTO hearth_head (id, form, version, head) VALUES (0, 1, 0, 0) ON CONFLICT (id) DO NOTHING",
];

/// Settings of every session, which a database may not know. The plans that these leave are the only ones that make
/// sense here: by the primary key, in its order, whatever the planner believes about the size of a young table.
pub(super) const SETTINGS: [&str; 9] = [
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET client_min_messages = warning",
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET enable_bitmapscan = off",
    "SET enable_sort = off",
    "SET jit = off",
];

/// A node that stops in the middle of a group must not hold up the others for longer than this.
pub(super) const SETTING_IDLE: &str = "SET idle_in_transaction_session_timeout = 1500";

/// For a store that may lose its last moments.
pub(super) const SETTING_RELAXED: &str = "SET synchronous_commit = off";

const HEAD: &str = "SELECT version, head FROM hearth_head WHERE id = 0";

// A value that holds at version $3 is the newest one, or it was replaced later and is in the past. Both tables are seen
// at one moment, that of the statement; `kept` tells whether the past still reaches back that far at that moment.
const GET: &str = "SELECT h.kept, b.value FROM hearth_kept h LEFT JOIN (\
    SELECT value FROM hearth_now WHERE tbl = $1 AND key = $2 AND version <= $3 \
    UNION ALL \
    SELECT value FROM hearth_past WHERE tbl = $1 AND key = $2 AND until > $3 AND since <= $3\
    ) b ON TRUE WHERE h.id = 0";

const MANY: &str = "SELECT h.kept, b.n, b.value FROM hearth_kept h LEFT JOIN (\
    SELECT k.n, r.value FROM unnest($2::INT4[], $3::BYTEA[]) AS k(n, key) \
    JOIN hearth_now r ON r.tbl = $1 AND r.key = k.key AND r.version <= $4 \
    UNION ALL \
    SELECT k.n, r.value FROM unnest($2::INT4[], $3::BYTEA[]) AS k(n, key) \
    JOIN hearth_past r ON r.tbl = $1 AND r.key = k.key AND r.until > $4 AND r.since <= $4\
    ) b ON TRUE WHERE h.id = 0";

// Each half is limited by itself, so that it is read in the order of its index and no further.
const FORWARD: &str = "SELECT h.kept, b.key, b.value FROM hearth_kept h LEFT JOIN (\
    SELECT key, value FROM (\
    (SELECT key, value FROM hearth_now WHERE tbl = $1 AND key >= $2 AND key < $3 AND version <= $4 \
    ORDER BY key LIMIT $5) \
    UNION ALL \
    (SELECT key, value FROM hearth_past WHERE tbl = $1 AND key >= $2 AND key < $3 AND until > $4 AND since <= $4 \
    ORDER BY key LIMIT $5)\
    ) a ORDER BY key LIMIT $5\
    ) b ON TRUE WHERE h.id = 0";

const BACKWARD: &str = "SELECT h.kept, b.key, b.value FROM hearth_kept h LEFT JOIN (\
    SELECT key, value FROM (\
    (SELECT key, value FROM hearth_now WHERE tbl = $1 AND key >= $2 AND key < $3 AND version <= $4 \
    ORDER BY key DESC LIMIT $5) \
    UNION ALL \
    (SELECT key, value FROM hearth_past WHERE tbl = $1 AND key >= $2 AND key < $3 AND until > $4 AND since <= $4 \
    ORDER BY key DESC LIMIT $5)\
    ) a ORDER BY key DESC LIMIT $5\
    ) b ON TRUE WHERE h.id = 0";

/// Which tables hold anything at or above $1: the lowest of them.
const TABLE: &str = "SELECT tbl FROM hearth_now WHERE tbl >= $1 ORDER BY tbl LIMIT 1";

const TABLE_PAST: &str = "SELECT tbl FROM hearth_past WHERE tbl >= $1 ORDER BY tbl LIMIT 1";

const HINTS: &str =
    "SELECT version, hints FROM hearth_groups WHERE version > $1 ORDER BY version LIMIT $2";

/// What a session that reads has prepared.
pub(super) struct Reading {
    pub(super) head: Statement,
    pub(super) get: Statement,
    pub(super) many: Statement,
    pub(super) forward: Statement,
    pub(super) backward: Statement,
    pub(super) table: Statement,
    pub(super) table_past: Statement,
    pub(super) hints: Statement,
}

impl Reading {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let (head, get, many, forward, backward, table, table_past, hints) = tokio::try_join!(
            client.prepare(HEAD),
            client.prepare(GET),
            client.prepare(MANY),
            client.prepare(FORWARD),
            client.prepare(BACKWARD),
            client.prepare(TABLE),
            client.prepare(TABLE_PAST),
            client.prepare(HINTS),
        )?;
        Ok(Self {
            head,
            get,
            many,
            forward,
            backward,
            table,
            table_past,
            hints,
        })
    }
}

const LOCK: &str = "SELECT version, head FROM hearth_head WHERE id = 0 FOR UPDATE";

const FETCH: &str = "SELECT k.n, r.value FROM unnest($1::INT4[], $2::INT2[], $3::BYTEA[]) AS k(n, tbl, key) \
    JOIN hearth_now r ON r.tbl = k.tbl AND r.key = k.key";

const WHOSE: &str =
    "SELECT version, id FROM hearth_groups WHERE version >= $1 ORDER BY version LIMIT 1";

const MOVE: &str = "UPDATE hearth_head SET version = $1, head = $2 WHERE id = 0";

const GROUP: &str = "INSERT INTO hearth_groups (version, id, hints) VALUES ($1, $2, $3)";

const RETIRE: &str = "INSERT INTO hearth_past (tbl, key, until, since, value) \
    SELECT r.tbl, r.key, $1, r.version, r.value FROM unnest($2::INT2[], $3::BYTEA[]) AS k(tbl, key) \
    JOIN hearth_now r ON r.tbl = k.tbl AND r.key = k.key";

const PUT: &str = "INSERT INTO hearth_now (tbl, key, version, value) \
    SELECT k.tbl, k.key, $1, k.value FROM unnest($2::INT2[], $3::BYTEA[], $4::BYTEA[]) AS k(tbl, key, value) \
    ON CONFLICT (tbl, key) DO UPDATE SET version = excluded.version, value = excluded.value";

const DELETE: &str = "DELETE FROM hearth_now WHERE (tbl, key) IN \
    (SELECT k.tbl, k.key FROM unnest($1::INT2[], $2::BYTEA[]) AS k(tbl, key))";

const RETIRE_RANGE: &str = "INSERT INTO hearth_past (tbl, key, until, since, value) \
    SELECT tbl, key, $1, version, value FROM hearth_now WHERE tbl = $2 AND key >= $3 AND key < $4";

const DELETE_RANGE: &str = "DELETE FROM hearth_now WHERE tbl = $1 AND key >= $2 AND key < $3";

const HOLD: &str = "INSERT INTO hearth_holds (id, version, beat) VALUES ($1, $2, $2) \
    ON CONFLICT (id) DO UPDATE SET beat = excluded.beat";

const RELEASE: &str = "DELETE FROM hearth_holds WHERE id = $1";

const DEAD_HOLDS: &str = "DELETE FROM hearth_holds WHERE beat < $1";

const KEEP: &str = "UPDATE hearth_kept SET kept = GREATEST(kept, LEAST($1, \
    COALESCE((SELECT min(version) FROM hearth_holds), $1))) WHERE id = 0";

const OLD_GROUPS: &str = "DELETE FROM hearth_groups WHERE version < $1";

const KEPT: &str = "SELECT kept, pruned FROM hearth_kept WHERE id = 0";

const CLAIM: &str = "UPDATE hearth_kept SET pruned = $2 WHERE id = 0 AND pruned = $1";

const PRUNE: &str = "DELETE FROM hearth_past WHERE until > $1 AND until <= $2";

/// What a session that writes has prepared.
pub(super) struct Writing {
    pub(super) lock: Statement,
    pub(super) fetch: Statement,
    pub(super) whose: Statement,
    pub(super) advance: Statement,
    pub(super) group: Statement,
    pub(super) retire: Statement,
    pub(super) put: Statement,
    pub(super) delete: Statement,
    pub(super) retire_range: Statement,
    pub(super) delete_range: Statement,
    pub(super) hold: Statement,
    pub(super) release: Statement,
    pub(super) dead_holds: Statement,
    pub(super) keep: Statement,
    pub(super) old_groups: Statement,
    pub(super) kept: Statement,
    pub(super) claim: Statement,
    pub(super) prune: Statement,
}

impl Writing {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let groups = async {
            tokio::try_join!(
                client.prepare(LOCK),
                client.prepare(FETCH),
                client.prepare(WHOSE),
                client.prepare(MOVE),
                client.prepare(GROUP),
                client.prepare(RETIRE),
                client.prepare(PUT),
                client.prepare(DELETE),
                client.prepare(RETIRE_RANGE),
                client.prepare(DELETE_RANGE),
            )
        };
        let tending = async {
            tokio::try_join!(
                client.prepare(HOLD),
                client.prepare(RELEASE),
                client.prepare(DEAD_HOLDS),
                client.prepare(KEEP),
                client.prepare(OLD_GROUPS),
                client.prepare(KEPT),
                client.prepare(CLAIM),
                client.prepare(PRUNE),
            )
        };
        let (groups, tending) = tokio::try_join!(groups, tending)?;
        let (lock, fetch, whose, advance, group, retire, put, delete, retire_range, delete_range) =
            groups;
        let (hold, release, dead_holds, keep, old_groups, kept, claim, prune) = tending;
        Ok(Self {
            lock,
            fetch,
            whose,
            advance,
            group,
            retire,
            put,
            delete,
            retire_range,
            delete_range,
            hold,
            release,
            dead_holds,
            keep,
            old_groups,
            kept,
            claim,
            prune,
        })
    }
}
