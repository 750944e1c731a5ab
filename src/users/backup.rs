//! Owns the encrypted copies of room keys that users leave here: the versions of a backup and the keys in each. Must never
//! change a backup without its count and its etag following in the same commit.
//!
//! The record of a version holds the count and the etag and is asserted by every write, so that writes to one backup come one
//! after the other and both numbers are exact. Version numbers are never used again.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-side-key-backups>

use bytes::Bytes;
use hearth_store::{Batch, Direction, Family, Json, Seen, Table, View};
use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

mod sessions;
mod versions;

pub use sessions::{BackupKey, BackupKeys, BackupPart};

/// How often a write to a backup is planned again.
const ATTEMPTS: usize = 32;
/// The longest JSON of one key, and of the `auth_data` of a version, in bytes.
const MAX_BYTES: usize = 65_536;
/// The longest session id in bytes.
const MAX_SESSION_ID: usize = 255;

/// (user, version) to the version's record.
const VERSIONS: Table<(String, u64), Json<Record>> =
    Table::new(56, "backup_versions", Family::Records);
/// The user to the newest version number that was ever given.
const NEWEST: Table<String, u64> = Table::new(57, "backup_newest", Family::Records);
/// (user, version, room, session) to the key as uploaded.
const KEYS: Table<(String, u64, String, String), Bytes> =
    Table::new(58, "backup_keys", Family::Index);

/// What is stored of a version.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    algorithm: String,
    auth_data: Box<RawValue>,
    count: u64,
    etag: u64,
}

/// A version of a backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its name.
    pub version: String,
    /// How its keys are encrypted.
    pub algorithm: String,
    /// What the algorithm needs, as uploaded.
    pub auth_data: Box<RawValue>,
    /// How many keys it holds and which state it is in.
    pub size: BackupSize,
}

/// How many keys a backup holds, and which state it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSize {
    /// The number of keys.
    pub count: u64,
    /// Differs whenever the keys differ.
    pub etag: String,
}

impl Record {
    fn size(&self) -> BackupSize {
        BackupSize {
            count: self.count,
            etag: self.etag.to_string(),
        }
    }
}

/// The newest version that was not deleted.
async fn latest(view: &View, user: &UserId) -> Result<Option<(u64, Seen<Record>)>, Error> {
    let found = view
        .scan_prefix(&VERSIONS, (user.as_str(),), Direction::Backward, 1)
        .await?;
    let Some(((_, version), _)) = found.into_iter().next() else {
        return Ok(None);
    };
    let record = view.get_seen(&VERSIONS, (user.as_str(), version)).await?;
    Ok(record.map(|record| (version, record)))
}

/// The record of a version by its name.
async fn record(view: &View, user: &UserId, version: &str) -> Result<(u64, Seen<Record>), Error> {
    let unknown = || Error::not_found("there is no such backup");
    let number = number(version).ok_or_else(unknown)?;
    let found = view.get_seen(&VERSIONS, (user.as_str(), number)).await?;
    Ok((number, found.ok_or_else(unknown)?))
}

/// The number of a version; `None` for a name that this server does not give.
fn number(version: &str) -> Option<u64> {
    version
        .parse()
        .ok()
        .filter(|number: &u64| number.to_string() == version)
}

/// Replaces the record of a version, if nobody else did in the meantime.
fn replace(batch: &mut Batch, user: &UserId, version: u64, seen: &Seen<Record>, new: &Record) {
    let place = (user.as_str(), version);
    batch.replace(&VERSIONS, place, seen, new);
}

#[cfg(test)]
mod tests;
