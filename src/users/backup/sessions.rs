//! Owns the keys in a version of a backup: which replaces which, reading and deleting. Must never replace a key by a worse one.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2>

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_store::{Batch, Direction, SCAN_LIMIT, View};
use ruma::{OwnedRoomId, RoomId, UserId, api::client::backup::KeyBackupData, serde::Raw};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    ATTEMPTS, BackupSize, KEYS, MAX_BYTES, MAX_SESSION_ID, Record, latest, record, replace,
};
use crate::{Error, Refusal, Users};

/// How many keys are deleted in one commit.
const DELETED_AT_ONCE: usize = 1_000;

/// A key of a backup, as uploaded.
pub type BackupKey = Raw<KeyBackupData>;

/// Which keys of a backup are meant.
#[derive(Clone, Copy, Debug)]
pub enum BackupPart<'a> {
    /// All of them.
    All,
    /// Those of a room.
    Room(&'a RoomId),
    /// That of a session in a room.
    Session(&'a RoomId, &'a str),
}

/// What decides which of two keys of the same session is better.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Rank {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
}

impl Rank {
    /// Whether a key of this rank replaces one of the rank `old`: a verified one, else one that reaches further back, else
    /// one that passed through fewer hands.
    pub(super) fn replaces(self, old: Self) -> bool {
        if self.is_verified != old.is_verified {
            return self.is_verified;
        }
        if self.first_message_index != old.first_message_index {
            return self.first_message_index < old.first_message_index;
        }
        self.forwarded_count < old.forwarded_count
    }
}

/// The part of a key that this server cannot read; it must be an object.
#[derive(Deserialize)]
struct Sealed {
    #[serde(rename = "session_data")]
    _session_data: BTreeMap<String, IgnoredAny>,
}

/// Keys by room and session.
pub type BackupKeys = BTreeMap<OwnedRoomId, BTreeMap<String, BackupKey>>;

impl Users {
    /// Stores keys in the current version of a backup, each unless a better one of its session is there.
    ///
    /// # Errors
    /// `NotFound` without any backup; `WrongRoomKeysVersion` when `version` is not the current one; `BadJson`, `TooLarge`;
    /// `Busy` when others were faster each time.
    pub async fn put_backup_keys(
        &self,
        user: &UserId,
        version: &str,
        keys: &BackupKeys,
    ) -> Result<BackupSize, Error> {
        let mut ranked = Vec::new();
        for (room, sessions) in keys {
            for (session, key) in sessions {
                ranked.push((
                    room.as_str(),
                    session.as_str(),
                    key.json(),
                    rank(session, key.json())?,
                ));
            }
        }
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let (number, seen) = latest(&view, user)
                .await?
                .ok_or_else(|| Error::not_found("there is no backup"))?;
            if number.to_string() != version {
                let current = Some(number.to_string());
                let kind = Refusal::WrongRoomKeysVersion { current };
                return Err(Error::refused(kind, "this is not the current backup"));
            }
            let mut batch = Batch::new();
            let new = plan_put(&view, &mut batch, user, number, &ranked, &seen).await?;
            if batch.is_empty() {
                return Ok(seen.size());
            }
            replace(&mut batch, user, number, &seen, &new);
            if self.try_commit(batch).await?.is_some() {
                return Ok(new.size());
            }
        }
        Err(Error::Busy)
    }

    /// The keys of `part` of a version; none for a room or session without any.
    ///
    /// # Errors
    /// `NotFound` for an unknown version; those of the store.
    pub async fn backup_keys(
        &self,
        user: &UserId,
        version: &str,
        part: BackupPart<'_>,
    ) -> Result<BackupKeys, Error> {
        let view = self.store.view().await?;
        let (number, _) = record(&view, user, version).await?;
        let mut keys = BackupKeys::new();
        let mut after = None;
        loop {
            let page = page(&view, user, number, part, after.as_ref(), SCAN_LIMIT).await?;
            let full = page.len() == SCAN_LIMIT;
            after = page
                .last()
                .map(|((_, _, room, session), _)| (room.clone(), session.clone()));
            for ((_, _, room, session), json) in page {
                let room = OwnedRoomId::try_from(room).map_err(|_| corrupt())?;
                keys.entry(room).or_default().insert(session, to_raw(json)?);
            }
            if !full {
                return Ok(keys);
            }
        }
    }

    /// Deletes the keys of `part` of a version, page by page.
    ///
    /// # Errors
    /// `NotFound` for an unknown version; `Busy` when others were faster each time.
    pub async fn delete_backup_keys(
        &self,
        user: &UserId,
        version: &str,
        part: BackupPart<'_>,
    ) -> Result<BackupSize, Error> {
        let mut conflicts = 0;
        while conflicts < ATTEMPTS {
            let view = self.store.view().await?;
            let (number, seen) = record(&view, user, version).await?;
            let page = page(&view, user, number, part, None, DELETED_AT_ONCE).await?;
            if page.is_empty() {
                return Ok(seen.size());
            }
            let mut new = seen.clone();
            new.count = seen.count.saturating_sub(page.len() as u64);
            new.etag += 1;
            let mut batch = Batch::new();
            for (key, _) in page {
                batch.delete(&KEYS, key);
            }
            replace(&mut batch, user, number, &seen, &new);
            if self.try_commit(batch).await?.is_none() {
                conflicts += 1;
            }
        }
        Err(Error::Busy)
    }
}

/// Puts what is new or better, and returns the record that goes with it.
async fn plan_put(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    version: u64,
    keys: &[(&str, &str, &RawValue, Rank)],
    seen: &Record,
) -> Result<Record, Error> {
    let places = keys
        .iter()
        .map(|(room, session, ..)| (user.as_str(), version, *room, *session));
    let stored: Vec<Option<Bytes>> = view.get_many(&KEYS, places.clone()).await?;
    let mut new = seen.clone();
    for ((place, (_, _, json, rank)), old) in places.zip(keys).zip(stored) {
        match old {
            Some(old) => {
                let old: Rank = serde_json::from_slice(&old).map_err(|_| corrupt())?;
                if !rank.replaces(old) {
                    continue;
                }
            }
            None => new.count += 1,
        }
        batch.put(&KEYS, place, Bytes::copy_from_slice(json.get().as_bytes()));
    }
    new.etag += 1;
    Ok(new)
}

/// The next keys of `part` after the given room and session.
async fn page(
    view: &View,
    user: &UserId,
    version: u64,
    part: BackupPart<'_>,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<((String, u64, String, String), Bytes)>, Error> {
    let user = user.as_str();
    let forward = Direction::Forward;
    let found = match (part, after) {
        (BackupPart::All, None) => {
            view.scan_prefix(&KEYS, (user, version), forward, limit)
                .await?
        }
        (BackupPart::Room(room), None) => {
            view.scan_prefix(&KEYS, (user, version, room.as_str()), forward, limit)
                .await?
        }
        (BackupPart::Session(room, session), None) => {
            let place = (user, version, room.as_str(), session);
            view.scan_prefix(&KEYS, place, forward, 1).await?
        }
        (part, Some((room, session))) => {
            // The lowest string above another is that with a NUL behind it.
            let above = |text: &str| format!("{text}\0");
            let start = (user, version, room.clone(), above(session));
            let end = match part {
                BackupPart::All => (user, version + 1, String::new(), String::new()),
                _ => (user, version, above(room), String::new()),
            };
            view.scan(&KEYS, start..end, forward, limit).await?
        }
    };
    Ok(found)
}

/// Checks a key and says how good it is.
fn rank(session: &str, json: &RawValue) -> Result<Rank, Error> {
    if json.get().len() > MAX_BYTES || session.len() > MAX_SESSION_ID {
        return Err(Error::refused(
            Refusal::TooLarge,
            "a key or its session id is too long",
        ));
    }
    let bad = |error: serde_json::Error| Error::refused(Refusal::BadJson, error.to_string());
    serde_json::from_str::<Sealed>(json.get()).map_err(bad)?;
    serde_json::from_str(json.get()).map_err(bad)
}

fn to_raw(json: Bytes) -> Result<BackupKey, Error> {
    let text = String::from_utf8(json.into()).map_err(|_| corrupt())?;
    RawValue::from_string(text)
        .map(Raw::from_json)
        .map_err(|_| corrupt())
}

fn corrupt() -> Error {
    hearth_store::Error::Corrupt("a stored backup key is not one".to_owned()).into()
}
