//! The connection that asks Redis: made when it is needed, given up when it fails, and not tried for too often.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError,
    aio::MultiplexedConnection, cmd,
};
use bytes::Bytes;
use tokio::{sync::Mutex, time::Instant};

use super::{super::memory::LIST_LIMIT, NodeId, PATIENCE};

/// How long nobody tries to connect after that failed, unless Redis was heard of meanwhile.
const AGAIN: Duration = Duration::from_secs(2);

/// How many steps of a search through all keys a listing takes at most, where the prefix has no set.
const SEARCH_STEPS: usize = 100;

/// The names in a group that live: KEYS group; ARGV how many.
const NAMES: &str = "local t = redis.call('TIME') \
    local now = t[1] * 1000 + math.floor(t[2] / 1000) \
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) \
    return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'LIMIT', 0, ARGV[1])";

/// The part of `key` through its second slash, if it has two.
pub(super) fn group(key: &str) -> Option<&str> {
    let (second, _) = key.match_indices('/').nth(1)?;
    key.get(..=second)
}

/// A call of `script`.
pub(super) fn eval(script: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

/// Redis cannot be reached, or does not do as it is told. Whoever meets it does without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost;

/// The connection that asks.
pub(super) struct Link {
    pub(super) client: Client,
    prefix: String,
    place: Mutex<Place>,
    /// Told to the log and not yet taken back.
    lost: AtomicBool,
}

#[derive(Default)]
struct Place {
    connection: Option<MultiplexedConnection>,
    /// When connecting failed last.
    failed: Option<Instant>,
}

impl Link {
    pub(super) fn new(client: Client, prefix: String) -> Self {
        Self {
            client,
            prefix,
            place: Mutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// As [`Link::found`], told by another connection: whoever asks need not wait to try again.
    pub(super) async fn heard(&self) {
        self.place.lock().await.failed = None;
        self.found();
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}v:{key}", self.prefix)
    }

    pub(super) fn set(&self, group: &str) -> String {
        format!("{}g:{group}", self.prefix)
    }

    pub(super) fn channel(&self) -> String {
        format!("{}hints", self.prefix)
    }

    /// Where nodes are asked whether they have heard.
    pub(super) fn questions(&self) -> String {
        format!("{}asks", self.prefix)
    }

    /// Where a node is answered.
    pub(super) fn answers(&self, node: &NodeId) -> String {
        format!("{}heard:{:016x}", self.prefix, u64::from_be_bytes(*node))
    }

    fn config() -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
    }

    /// The connection, made if there is none. While Redis is away nobody waits for it more than once in a while.
    async fn connection(&self) -> Result<MultiplexedConnection, Lost> {
        let mut place = self.place.lock().await;
        if let Some(connection) = &place.connection {
            return Ok(connection.clone());
        }
        if place.failed.is_some_and(|at| at.elapsed() < AGAIN) {
            return Err(Lost);
        }
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&Self::config())
            .await;
        match made {
            Ok(connection) => {
                place.connection = Some(connection.clone());
                place.failed = None;
                drop(place);
                self.found();
                Ok(connection)
            }
            Err(error) => {
                place.failed = Some(Instant::now());
                drop(place);
                self.lose(&error);
                Err(Lost)
            }
        }
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Lost> {
        let mut connection = self.connection().await?;
        match command.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(&error).await),
        }
    }

    /// Sends several commands; gives the numbers that those answer which are not ignored.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<Vec<u64>, Lost> {
        let mut connection = self.connection().await?;
        match commands.query_async(&mut connection).await {
            Ok(numbers) => Ok(numbers),
            Err(error) => Err(self.failed(&error).await),
        }
    }

    /// Gives the connection up, so that the next who asks makes a new one.
    async fn failed(&self, error: &RedisError) -> Lost {
        self.place.lock().await.connection = None;
        self.lose(error);
        Lost
    }

    /// Redis does not answer.
    pub(super) fn lose(&self, error: &RedisError) {
        metrics::gauge!("hearth_hints_connected").set(0.0);
        if !self.lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Redis is lost: news from other nodes come later, until it is back");
        }
    }

    /// Redis answers.
    pub(super) fn found(&self) {
        metrics::gauge!("hearth_hints_connected").set(1.0);
        if self.lost.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis is back");
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, Lost> {
        let names = match group(prefix) {
            Some(group) => {
                let command = eval(NAMES, &[self.set(group)]).arg(LIST_LIMIT).take();
                self.ask::<Vec<String>>(command).await?
            }
            None => self.search(prefix).await?,
        };
        let names: Vec<String> = names
            .into_iter()
            .filter(|n| n.starts_with(prefix))
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        let values: Vec<Option<Vec<u8>>> = self.ask(cmd("MGET").arg(keys).take()).await?;
        let found = names.into_iter().zip(values);
        Ok(found
            .filter_map(|(name, value)| Some((name, Bytes::from(value?))))
            .collect())
    }

    /// The names that start with `prefix`, by looking at all: for a prefix that has no set.
    async fn search(&self, prefix: &str) -> Result<Vec<String>, Lost> {
        let own = self.key("");
        let mut pattern = String::new();
        for letter in self.key(prefix).chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push('*');
        let (mut names, mut cursor) = (Vec::new(), 0u64);
        for _ in 0..SEARCH_STEPS {
            let mut command = cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern);
            command.arg("COUNT").arg(LIST_LIMIT);
            let (next, page): (u64, Vec<String>) = self.ask(command).await?;
            let page = page.into_iter();
            names.extend(page.filter_map(|key| key.strip_prefix(&own).map(ToOwned::to_owned)));
            cursor = next;
            if cursor == 0 || names.len() >= LIST_LIMIT {
                break;
            }
        }
        names.truncate(LIST_LIMIT);
        Ok(names)
    }
}
