//! Hints and ephemeral values of many nodes, over Redis (or what speaks as it does, 6.2 or newer).
//!
//! A hint goes to this node at once, and to the others over one channel. Ephemeral values live in Redis; while it cannot
//! be reached they live in this node's memory, where this node finds them again, also afterwards. So nothing ever
//! fails for want of Redis: what is lost is what the seam allows to be lost. A metric and a line in the log say so.
//!
//! Keys of the form `kind/id/rest` are also kept in a set for `kind/id/`, so that listing those is no search.

use std::{sync::Arc, time::Duration};

use ::redis::{Client, RedisError, cmd, pipe};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use hearth_base::Rng;
use tokio::{
    sync::{broadcast, mpsc},
    task::AbortHandle,
    time::{sleep, timeout},
};

use self::{
    link::{Link, Lost, eval, group},
    rounds::Rounds,
};
use super::{Hint, Hints, Lifetime, MemoryHints, Moved, memory::LIST_LIMIT};
use crate::Error;

mod link;
mod rounds;

/// How long Redis may take to take a connection, or to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause before the connection that hears hints is made again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether the connection that hears hints still lives.
const LOOK: Duration = Duration::from_secs(5);

/// How many hints wait to be sent at most; further ones are lost to the other nodes.
const OUTBOX: usize = 4096;

/// How many hints are sent together at most.
const TOGETHER: usize = 256;

/// Sets a value, and notes it in the set of its group: KEYS value, group; ARGV bytes, lifetime, name.
const PUT: &str = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
    local t = redis.call('TIME') \
    redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[3]) \
    if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end";

/// Takes a value, and its note out of the set of its group: KEYS value, group; ARGV name.
const TAKE: &str = "redis.call('ZREM', KEYS[2], ARGV[1]) return redis.call('GETDEL', KEYS[1])";

/// Adds to a counter that lives on from its first use: KEYS counter; ARGV how much, lifetime.
const ADD: &str = "local sum = redis.call('INCRBY', KEYS[1], ARGV[1]) \
    if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
    return sum";

/// Where Redis is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its address: `redis://host:port/database`, `rediss://` for TLS.
    pub url: String,
    /// Set before every key and channel, so that several servers can share one Redis.
    pub prefix: String,
}

/// Names a node in its hints, which come back to it.
type NodeId = [u8; 8];

/// What waits to be sent.
enum Message {
    /// To all.
    Hint(Hint),
    /// To all, whether they have heard what was sent before: the number of the round.
    Ask(u64),
    /// To the node that asked, its own words.
    Heard(NodeId, u64),
}

/// Hints and ephemeral values over Redis.
pub struct RedisHints {
    memory: Arc<MemoryHints>,
    link: Arc<Link>,
    outbox: mpsc::Sender<Message>,
    rounds: Arc<Rounds>,
    tasks: [AbortHandle; 2],
}

impl RedisHints {
    /// Starts at once; Redis may come later, or go. `now` tells the time in milliseconds.
    ///
    /// Has to be called inside of a runtime.
    ///
    /// # Errors
    /// `Unavailable` if the address is not one of Redis.
    pub fn start(
        options: Options,
        rng: &dyn Rng,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let client = Client::open(options.url)
            .map_err(|e| Error::Unavailable(format!("the address of Redis is wrong: {e}")))?;
        let mut node = NodeId::default();
        rng.fill(&mut node);
        let link = Arc::new(Link::new(client, options.prefix));
        let memory = Arc::new(MemoryHints::new(now));
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        let rounds = Arc::new(Rounds::default());
        let sending = tokio::spawn(send(link.clone(), rounds.clone(), node, waiting));
        let ears = Ears {
            link: link.clone(),
            node,
            memory: memory.clone(),
            rounds: rounds.clone(),
            outbox: outbox.clone(),
        };
        let hearing = tokio::spawn(ears.hear());
        Ok(Self {
            memory,
            link,
            outbox,
            rounds,
            tasks: [sending.abort_handle(), hearing.abort_handle()],
        })
    }
}

impl Drop for RedisHints {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Hints for RedisHints {
    fn publish(&self, hint: Hint) {
        self.memory.publish(hint.clone());
        if self.outbox.try_send(Message::Hint(hint)).is_err() {
            metrics::counter!("hearth_hints_lost_total").increment(1);
        }
    }

    fn publish_everywhere(&self, hint: Hint) -> BoxFuture<'static, ()> {
        self.publish(hint);
        let rounds = self.rounds.clone();
        let round = rounds
            .begin()
            .filter(|round| self.outbox.try_send(Message::Ask(round.number)).is_ok());
        async move {
            if let Some(round) = round {
                rounds.finish(round).await;
            }
        }
        .boxed()
    }

    fn pass_on(&self, hint: Hint) {
        self.memory.pass_on(hint);
    }

    fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.memory.subscribe()
    }

    fn moved(&self) -> &Moved {
        self.memory.moved()
    }

    fn put(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<(), Error>> {
        // What this node kept while Redis was gone must not come to light again.
        let earlier = self.memory.take(key);
        let life = lifetime.0.max(1);
        let command = match group(key) {
            None => cmd("SET")
                .arg(self.link.key(key))
                .arg(&*value)
                .arg("PX")
                .arg(life)
                .take(),
            Some(group) => eval(PUT, &[self.link.key(key), self.link.set(group)])
                .arg(&*value)
                .arg(life)
                .arg(key)
                .take(),
        };
        let (link, memory) = (self.link.clone(), self.memory.clone());
        let key = key.to_owned();
        async move {
            earlier.await?;
            match link.ask::<()>(command).await {
                Ok(()) => Ok(()),
                Err(Lost) => memory.put(&key, value, lifetime).await,
            }
        }
        .boxed()
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>> {
        let kept = self.memory.get(key);
        let command = cmd("GET").arg(self.link.key(key)).take();
        let link = self.link.clone();
        async move {
            if let Some(kept) = kept.await? {
                return Ok(Some(kept));
            }
            let found = link.ask::<Option<Vec<u8>>>(command).await;
            Ok(found.unwrap_or_default().map(Bytes::from))
        }
        .boxed()
    }

    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Error>> {
        let asked: Vec<String> = keys.iter().map(|key| self.link.key(key)).collect();
        let count = keys.len();
        let kept = self.memory.get_many(keys);
        let link = self.link.clone();
        async move {
            if count == 0 {
                return Ok(Vec::new());
            }
            let asked = link.ask::<Vec<Option<Vec<u8>>>>(cmd("MGET").arg(asked).take());
            let mut found = asked.await.unwrap_or_default();
            found.resize(count, None);
            let kept = kept.await?.into_iter();
            let both = kept.zip(found);
            Ok(both
                .map(|(kept, found)| kept.or_else(|| found.map(Bytes::from)))
                .collect())
        }
        .boxed()
    }

    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, Error>> {
        let kept = self.memory.take(key);
        let command = match group(key) {
            None => cmd("GETDEL").arg(self.link.key(key)).take(),
            Some(group) => eval(TAKE, &[self.link.key(key), self.link.set(group)])
                .arg(key)
                .take(),
        };
        let link = self.link.clone();
        async move {
            if let Some(kept) = kept.await? {
                return Ok(Some(kept));
            }
            let found = link.ask::<Option<Vec<u8>>>(command).await;
            Ok(found.unwrap_or_default().map(Bytes::from))
        }
        .boxed()
    }

    fn add(
        &self,
        key: &str,
        delta: i64,
        lifetime: Lifetime,
    ) -> BoxFuture<'static, Result<i64, Error>> {
        let command = eval(ADD, &[self.link.key(key)])
            .arg(delta)
            .arg(lifetime.0.max(1))
            .take();
        let (link, memory) = (self.link.clone(), self.memory.clone());
        let key = key.to_owned();
        async move {
            match link.ask(command).await {
                Ok(sum) => Ok(sum),
                // Each node counts by itself until Redis is back.
                Err(Lost) => memory.add(&key, delta, lifetime).await,
            }
        }
        .boxed()
    }

    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, Error>> {
        let kept = self.memory.list(prefix);
        let (link, prefix) = (self.link.clone(), prefix.to_owned());
        async move {
            let mut found = link.list(&prefix).await.unwrap_or_default();
            found.extend(kept.await?);
            // Of a key that is in both places the one from this node's memory is the older one.
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found.dedup_by(|later, first| later.0 == first.0);
            found.truncate(LIST_LIMIT);
            Ok(found)
        }
        .boxed()
    }
}

/// Sends what waits to the other nodes, several messages together. What cannot be sent is lost.
async fn send(
    link: Arc<Link>,
    rounds: Arc<Rounds>,
    node: NodeId,
    mut waiting: mpsc::Receiver<Message>,
) {
    let mut messages = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut messages, TOGETHER).await > 0 {
        let mut commands = pipe();
        let mut asked = Vec::new();
        for message in &messages {
            let publish = commands.cmd("PUBLISH");
            match message {
                Message::Hint(hint) => publish
                    .arg(link.channel())
                    .arg(written(node, hint))
                    .ignore(),
                Message::Ask(round) => {
                    asked.push(*round);
                    publish.arg(link.questions()).arg(question(node, *round))
                }
                Message::Heard(asker, round) => publish
                    .arg(link.answers(asker))
                    .arg(&round.to_be_bytes())
                    .ignore(),
            };
        }
        match link.send(&commands).await {
            Ok(listeners) => asked
                .into_iter()
                .zip(listeners)
                .for_each(|(round, listeners)| rounds.asked(round, listeners)),
            Err(Lost) => {
                rounds.give_up(asked);
                let lost = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                metrics::counter!("hearth_hints_lost_total").increment(lost);
            }
        }
        messages.clear();
    }
}

/// Hears what other nodes say.
struct Ears {
    link: Arc<Link>,
    node: NodeId,
    memory: Arc<MemoryHints>,
    rounds: Arc<Rounds>,
    outbox: mpsc::Sender<Message>,
}

impl Ears {
    /// Passes on what it hears. Connects again for as long as it takes.
    async fn hear(self) {
        loop {
            if let Err(error) = self.listen().await {
                self.link.lose(&error);
            }
            sleep(PAUSE).await;
        }
    }

    async fn listen(&self) -> Result<(), RedisError> {
        let link = &self.link;
        let connected = timeout(PATIENCE, link.client.get_async_pubsub()).await;
        let mut hearing = connected.map_err(late)??;
        let channels = [link.channel(), link.questions(), link.answers(&self.node)];
        let subscribed = timeout(PATIENCE, hearing.subscribe(&channels)).await;
        subscribed.map_err(late)??;
        link.heard().await;
        let (mut sink, mut messages) = hearing.split();
        loop {
            match timeout(LOOK, messages.next()).await {
                Ok(Some(message)) => {
                    self.take_in(message.get_channel_name(), message.get_payload_bytes())
                }
                Ok(None) => return Ok(()),
                // Silence: either nobody has news, or Redis is gone without a word.
                Err(_) => {
                    let alive = timeout(PATIENCE, sink.ping::<::redis::Value>()).await;
                    alive.map_err(late)??;
                }
            }
        }
    }

    fn take_in(&self, channel: &str, message: &[u8]) {
        if channel == self.link.channel() {
            if let Some((from, hint)) = read(message)
                && from != self.node
            {
                self.memory.pass_on(hint);
            }
        } else if let Some((asker, round)) = message.split_first_chunk::<8>() {
            let Ok(round) = round.try_into().map(u64::from_be_bytes) else {
                // An answer: eight bytes alone.
                self.rounds.answered(u64::from_be_bytes(*asker));
                return;
            };
            match *asker == self.node {
                true => self.rounds.answered(round),
                // Who is not answered waits a little longer.
                false => drop(self.outbox.try_send(Message::Heard(*asker, round))),
            }
        }
    }
}

fn late(_: tokio::time::error::Elapsed) -> RedisError {
    RedisError::from((::redis::ErrorKind::Io, "no answer in time"))
}

/// A hint as it is sent: the node, then the hint.
fn written(node: NodeId, hint: &Hint) -> Vec<u8> {
    let mut message = node.to_vec();
    message.extend_from_slice(&hint.to_bytes());
    message
}

/// A question as it is sent: the node that asks, then the number of the round.
fn question(node: NodeId, round: u64) -> Vec<u8> {
    [node, round.to_be_bytes()].concat()
}

/// What [`written`] wrote; `None` if another version, or somebody else, wrote it.
fn read(message: &[u8]) -> Option<(NodeId, Hint)> {
    let (node, hint) = message.split_first_chunk::<8>()?;
    Some((*node, Hint::from_bytes(hint)?))
}
