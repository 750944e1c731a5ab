//! Owns the filters that clients upload to name them later. Must never change one: it is answered byte for byte.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use bytes::Bytes;
use hearth_store::{Batch, Direction, Family, Table, View};
use ruma::UserId;
use serde_json::value::RawValue;

use crate::{Error, Refusal, Users, authentication::fingerprint};

/// (user, id) to the filter.
const FILTERS: Table<(String, String), Bytes> = Table::new(24, "filters", Family::Records);

/// Bytes of one filter.
const MAX_BYTES: usize = 65_536;
/// Letters of an id: a filter is named by its hash, so that the same one uploaded again is no second one.
const ID_LENGTH: usize = 20;

impl Users {
    /// Keeps a filter and names it.
    ///
    /// # Errors
    /// `TooLarge` for a filter of more than 64 KiB, or for too many.
    pub async fn put_filter(&self, user: &UserId, filter: &RawValue) -> Result<String, Error> {
        let text = filter.get();
        if text.len() > MAX_BYTES {
            return Err(Error::refused(Refusal::TooLarge, "the filter is too large"));
        }
        let mut id = fingerprint(text).hex();
        id.truncate(ID_LENGTH);
        let view = self.store.view().await?;
        let key = (user.as_str(), id.as_str());
        if view.get(&FILTERS, key).await?.is_some() {
            return Ok(id);
        }
        let limit = self.limits.filters;
        let others = view
            .scan_prefix(&FILTERS, (user.as_str(),), Direction::Forward, limit)
            .await?;
        if others.len() >= limit {
            return Err(Error::refused(Refusal::TooLarge, "too many filters"));
        }
        let mut batch = Batch::new();
        batch.put(&FILTERS, key, Bytes::copy_from_slice(text.as_bytes()));
        self.try_commit(batch).await?;
        Ok(id)
    }

    /// A filter of the user.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn filter(
        &self,
        view: &View,
        user: &UserId,
        id: &str,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let Some(bytes) = view.get(&FILTERS, (user.as_str(), id)).await? else {
            return Ok(None);
        };
        let filter = serde_json::from_slice(&bytes).map_err(|error| {
            hearth_store::Error::Corrupt(format!("a stored filter is not JSON: {error}"))
        })?;
        Ok(Some(filter))
    }
}
