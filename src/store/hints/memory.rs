//! Hints and ephemeral values of a single node, in its memory. Bounded: see [`CAPACITY`].

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{Hint, Hints, Lifetime, Moved};
use crate::Error;

/// How many ephemeral values are kept at most; past it the oldest to expire go first.
const CAPACITY: usize = 200_000;

/// How many hints a receiver may lag behind before it loses the oldest.
const LAG: usize = 4096;

/// How many entries a listing returns at most.
pub(super) const LIST_LIMIT: usize = 1000;

/// Tells the milliseconds of now.
type Now = Box<dyn Fn() -> u64 + Send + Sync>;

/// Hints and ephemeral state in this process.
pub struct MemoryHints {
    sender: broadcast::Sender<Hint>,
    moved: Moved,
    values: Mutex<BTreeMap<String, Value>>,
    now: Now,
}

struct Value {
    bytes: Bytes,
    expires: u64,
}

impl MemoryHints {
    /// Starts empty; `now` tells the time in milliseconds.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            sender: broadcast::channel(LAG).0,
            moved: Moved::default(),
            values: Mutex::default(),
            now: Box::new(now),
        }
    }

    fn live(&self, key: &str, change: impl FnOnce(&mut BTreeMap<String, Value>, u64)) {
        let now = (self.now)();
        let mut values = self.values.lock();
        if values.get(key).is_some_and(|v| v.expires <= now) {
            values.remove(key);
        }
        if values.len() >= CAPACITY {
            values.retain(|_, v| v.expires > now);
            if values.len() >= CAPACITY
                && let Some(oldest) = values
                    .iter()
                    .min_by_key(|(_, v)| v.expires)
                    .map(|(k, _)| k.clone())
            {
                values.remove(&oldest);
            }
        }
        change(&mut values, now);
    }
}

impl Hints for MemoryHints {
    fn publish(&self, hint: Hint) {
        self.moved.note(&hint.topics);
        // No receiver is no failure: nobody waits.
        drop(self.sender.send(hint));
    }

    fn pass_on(&self, hint: Hint) {
        self.publish(hint);
    }

    fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.sender.subscribe()
    }

    fn moved(&self) -> &Moved {
        &self.moved
    }

    fn put(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<(), Error>> {
        self.live(key, |values, now| {
            let expires = now.saturating_add(lifetime.0);
            values.insert(
                key.to_owned(),
                Value {
                    bytes: value,
                    expires,
                },
            );
        });
        async { Ok(()) }.boxed()
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>> {
        let mut found = None;
        self.live(key, |values, _| {
            found = values.get(key).map(|v| v.bytes.clone())
        });
        async { Ok(found) }.boxed()
    }

    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Error>> {
        let now = (self.now)();
        let values = self.values.lock();
        let found = keys
            .iter()
            .map(|key| values.get(key).filter(|v| v.expires > now))
            .map(|value| value.map(|v| v.bytes.clone()))
            .collect();
        async move { Ok(found) }.boxed()
    }

    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>> {
        let mut found = None;
        self.live(key, |values, _| found = values.remove(key).map(|v| v.bytes));
        async { Ok(found) }.boxed()
    }

    fn add(
        &self,
        key: &str,
        delta: i64,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<i64, Error>> {
        let mut sum = delta;
        self.live(key, |values, now| {
            let mut expires = now.saturating_add(lifetime.0);
            if let Some(old) = values.get(key) {
                expires = old.expires;
                let number = <[u8; 8]>::try_from(old.bytes.as_ref()).map_or(0, i64::from_be_bytes);
                sum = number.saturating_add(delta);
            }
            let bytes = Bytes::copy_from_slice(&sum.to_be_bytes());
            values.insert(key.to_owned(), Value { bytes, expires });
        });
        async move { Ok(sum) }.boxed()
    }

    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, Error>> {
        let now = (self.now)();
        let values = self.values.lock();
        let found = values
            .range(prefix.to_owned()..)
            .take_while(|(k, _)| k.starts_with(prefix))
            .filter(|(_, v)| v.expires > now)
            .take(LIST_LIMIT)
            .map(|(k, v)| (k.clone(), v.bytes.clone()))
            .collect();
        async move { Ok(found) }.boxed()
    }
}
