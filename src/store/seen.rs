//! Owns the replacing of records of JSON by nodes of different versions. Must never drop what a later version wrote into a record, nor
//! take it for a change.

use std::ops::Deref;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Batch, Error, Json, Part, Table, View, codec};

/// A record as it was read, with all that is stored of it: also the fields that only a later version of this program knows.
#[derive(Debug)]
pub struct Seen<T> {
    record: T,
    stored: Bytes,
}

impl<T> Deref for Seen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

impl<T> Seen<T> {
    /// The record itself.
    pub fn into_record(self) -> T {
        self.record
    }
}

impl<T: Serialize> Seen<T> {
    /// `new`, with the fields that are stored and that `T` does not have.
    fn replaced_by(&self, new: &T) -> Option<Value> {
        let mut new = serde_json::to_value(new).ok()?;
        let known = as_fields(serde_json::to_value(&self.record).ok()?)?;
        let stored = as_fields(serde_json::from_slice(&self.stored).ok()?)?;
        let fields = new.as_object_mut()?;
        for (name, value) in stored {
            if !known.contains_key(&name) && !fields.contains_key(&name) {
                fields.insert(name, value);
            }
        }
        Some(new)
    }
}

fn as_fields(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

impl View {
    /// The record at `key`, to be replaced or asserted.
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn get_seen<K: Part, T: DeserializeOwned>(
        &self,
        table: &Table<K, Json<T>>,
        key: impl Part,
    ) -> Result<Option<Seen<T>>, Error> {
        let Some(stored) = self.get_bytes(table, key).await? else {
            return Ok(None);
        };
        let Json(record) = codec::decode(&stored)?;
        Ok(Some(Seen { record, stored }))
    }
}

impl Batch {
    /// The commit fails with a conflict unless `key` still has what was read, byte for byte.
    pub fn assert_seen<K: Part, T: Serialize>(
        &mut self,
        table: &Table<K, Json<T>>,
        key: impl Part,
        seen: &Seen<T>,
    ) {
        self.assert_equals(table, key, &seen.stored);
    }

    /// Puts `new` in place of what was read. The commit fails with a conflict if that is no longer there.
    pub fn replace<K: Part, T: Serialize>(
        &mut self,
        table: &Table<K, Json<T>>,
        key: impl Part + Copy,
        seen: &Seen<T>,
        new: &T,
    ) {
        self.assert_seen(table, key, seen);
        match seen.replaced_by(new) {
            Some(whole) => self.put(table, key, Json(whole)),
            None => self.put(table, key, Json(new)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{
        CommitError, Family, MemoryHints, Store,
        engines::rocksdb::{self, Options},
        suite::batch,
    };

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Known {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    /// The same table to this version and to a later one.
    const KNOWN: Table<u64, Json<Known>> = Table::new(246, "seen", Family::Records);
    const LATER: Table<u64, Json<Value>> = Table::new(246, "seen", Family::Records);

    #[tokio::test]
    async fn what_a_later_version_wrote_stays_and_is_no_conflict() {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(Options::at(folder.path())).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        // In an order of its own.
        let later = json!({ "later": [1], "note": "n", "name": "a" });
        store
            .commit(batch(|b| b.put(&LATER, 1u64, Json(&later))))
            .await
            .unwrap();

        let view = store.view().await.unwrap();
        let seen = view.get_seen(&KNOWN, 1u64).await.unwrap().unwrap();
        let new = Known {
            name: "b".into(),
            note: None,
        };
        let replace = || batch(|b| b.replace(&KNOWN, 1u64, &seen, &new));
        store.commit(replace()).await.unwrap();
        let Json(now) = store
            .view()
            .await
            .unwrap()
            .get(&LATER, 1u64)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(now, json!({ "later": [1], "name": "b" }));
        // It is another record by now.
        let again = store.commit(replace()).await;
        assert!(matches!(again, Err(CommitError::Conflict)));
        assert!(view.get_seen(&KNOWN, 2u64).await.unwrap().is_none());
    }
}
