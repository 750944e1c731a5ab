//! Owns the life of a version of a backup. Must never change its algorithm.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3room_keysversion>

use hearth_store::{Batch, Json};
use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ATTEMPTS, Backup, KEYS, MAX_BYTES, NEWEST, Record, VERSIONS, latest, number, record, replace,
};
use crate::{Error, Refusal, Users};

/// What a client says of a version.
#[derive(Deserialize)]
struct Description {
    algorithm: String,
    auth_data: Box<RawValue>,
    #[serde(default)]
    version: Option<String>,
}

impl Users {
    /// Makes a new version from its `algorithm` and `auth_data`, and returns its name. It becomes the current one.
    ///
    /// # Errors
    /// `BadJson`, `TooLarge`; `Busy` when others were faster each time.
    pub async fn create_backup(&self, user: &UserId, description: &str) -> Result<String, Error> {
        let Description {
            algorithm,
            auth_data,
            ..
        } = read(description)?;
        let record = Record {
            algorithm,
            auth_data,
            count: 0,
            etag: 0,
        };
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let newest = view.get(&NEWEST, user.as_str()).await?;
            let version = newest.unwrap_or_default() + 1;
            let mut batch = Batch::new();
            batch.assert_unchanged(&NEWEST, user.as_str(), newest);
            batch.put(&NEWEST, user.as_str(), version);
            batch.put(&VERSIONS, (user.as_str(), version), Json(&record));
            if self.try_commit(batch).await?.is_some() {
                return Ok(version.to_string());
            }
        }
        Err(Error::Busy)
    }

    /// A version of the user's backup, or the current one.
    ///
    /// # Errors
    /// `NotFound`; those of the store.
    pub async fn backup(&self, user: &UserId, version: Option<&str>) -> Result<Backup, Error> {
        let view = self.store.view().await?;
        let (version, record) = match version {
            Some(version) => record(&view, user, version).await?,
            None => latest(&view, user)
                .await?
                .ok_or_else(|| Error::not_found("there is no backup"))?,
        };
        let size = record.size();
        let record = record.into_record();
        Ok(Backup {
            version: version.to_string(),
            algorithm: record.algorithm,
            auth_data: record.auth_data,
            size,
        })
    }

    /// Replaces the `auth_data` of a version.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParam` for another algorithm or a body that names another version; `BadJson`, `TooLarge`, `Busy`.
    pub async fn update_backup(
        &self,
        user: &UserId,
        version: &str,
        description: &str,
    ) -> Result<(), Error> {
        let new = read(description)?;
        if new.version.is_some_and(|named| named != version) {
            return Err(Error::refused(
                Refusal::InvalidParam,
                "the body names another version",
            ));
        }
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let (number, seen) = record(&view, user, version).await?;
            if seen.algorithm != new.algorithm {
                return Err(Error::refused(
                    Refusal::InvalidParam,
                    "the algorithm cannot be changed",
                ));
            }
            let mut batch = Batch::new();
            let record = Record {
                auth_data: new.auth_data.clone(),
                ..seen.clone()
            };
            replace(&mut batch, user, number, &seen, &record);
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a version and its keys. One that was deleted before is no error.
    ///
    /// # Errors
    /// `NotFound` for a version that never was; those of the store.
    pub async fn delete_backup(&self, user: &UserId, version: &str) -> Result<(), Error> {
        let view = self.store.view().await?;
        let newest = view.get(&NEWEST, user.as_str()).await?.unwrap_or_default();
        let number = number(version)
            .filter(|number| (1..=newest).contains(number))
            .ok_or_else(|| Error::not_found("there is no such backup"))?;
        let mut batch = Batch::new();
        batch.delete(&VERSIONS, (user.as_str(), number));
        self.try_commit(batch).await?;
        // Without its record nothing writes to the version any more, and its number is never used again.
        self.store
            .delete_prefix(&KEYS, (user.as_str(), number))
            .await?;
        Ok(())
    }
}

fn read(description: &str) -> Result<Description, Error> {
    let bad = |reason: String| Error::refused(Refusal::BadJson, reason);
    let read: Description =
        serde_json::from_str(description).map_err(|error| bad(error.to_string()))?;
    if read.auth_data.get().len() > MAX_BYTES || read.algorithm.len() > MAX_BYTES {
        return Err(Error::refused(
            Refusal::TooLarge,
            "the description of a backup is too long",
        ));
    }
    if !read.auth_data.get().starts_with('{') {
        return Err(bad("auth_data is not an object".to_owned()));
    }
    Ok(read)
}
