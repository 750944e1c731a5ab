//! One suite for hints in memory and over Redis, and what is of Redis alone: that it goes and comes back.
//!
//! The tests start a `redis-server` of their own; where none is installed they say so and pass.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hearth_base::SystemRng;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Hint, Hints, Lifetime, MemoryHints, RedisHints, Topic, redis::Options};
use crate::Position;

const LONG: Lifetime = Lifetime(600_000);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A Redis of the tests' own, which ends with the process: its standard input closes.
struct Server {
    port: u16,
    process: Option<Child>,
    _folder: TempDir,
}

impl Server {
    /// `None` where Redis is not installed.
    fn start() -> Option<Self> {
        let found = Command::new("redis-server").arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            say("skipped: Redis is not installed (Debian: apt-get install redis-server)");
            return None;
        }
        // Free now; nobody else asks for a port without a number in the meantime, or the start below fails.
        #[allow(clippy::disallowed_methods, reason = "a test, before it begins")]
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = Self {
            port,
            process: None,
            _folder: tempfile::tempdir().unwrap(),
        };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let script = r#"redis-server --port "$1" --bind 127.0.0.1 --save "" --dir "$2" --logfile log & cat >/dev/null; kill -9 $!"#;
        let process = Command::new("sh")
            .args(["-c", script, "watcher", &self.port.to_string()])
            .arg(self._folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        let answers = || {
            let port = self.port.to_string();
            let output = Command::new("redis-cli")
                .args(["-p", &port, "ping"])
                .output();
            output.unwrap().stdout.starts_with(b"PONG")
        };
        while !answers() {
            std::thread::yield_now();
        }
    }

    fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        // The end of its input: the server is killed.
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    fn hints(&self) -> Arc<RedisHints> {
        let options = Options {
            url: format!("redis://127.0.0.1:{}", self.port),
            prefix: "hearth:test:".to_owned(),
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "values that live in memory end as those in Redis do"
        )]
        let start = std::time::Instant::now();
        let now = move || u64::try_from(start.elapsed().as_millis()).unwrap();
        Arc::new(RedisHints::start(options, &SystemRng, now).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
    }
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Until what `look` looks for is there. The harness ends a test that waits for ever.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// What both kinds do. `one` and `two` are the hints of two nodes, or the same.
async fn suite(one: Arc<dyn Hints>, two: Arc<dyn Hints>) {
    values(&*one, &*two).await;
    listing(&*one, &*two).await;
    counters(&one, &two).await;
    taken_once(&one, &two).await;
    wake_ups(&*one, &*two).await;
}

async fn values(one: &dyn Hints, two: &dyn Hints) {
    assert_eq!(one.get("none").await.unwrap(), None);
    one.put("a", bytes("1"), LONG).await.unwrap();
    assert_eq!(two.get("a").await.unwrap().unwrap(), "1");
    two.put("a", Bytes::new(), LONG).await.unwrap();
    assert_eq!(one.get("a").await.unwrap().unwrap(), "");
    two.put("z", bytes("2"), LONG).await.unwrap();
    let keys = ["z", "none", "a", "z"].map(ToOwned::to_owned).to_vec();
    let found = one.get_many(keys).await.unwrap();
    assert_eq!(
        found,
        [Some(bytes("2")), None, Some(Bytes::new()), Some(bytes("2"))]
    );
    assert!(one.get_many(Vec::new()).await.unwrap().is_empty());
    one.take("z").await.unwrap();
    assert_eq!(one.take("a").await.unwrap().unwrap(), "");
    assert_eq!(two.take("a").await.unwrap(), None);
    assert_eq!(two.get("a").await.unwrap(), None);
    let wild = [0u8, 255, b'*', b'\n'];
    let name = "b*?[x]\\/é/ ";
    one.put(name, Bytes::copy_from_slice(&wild), LONG)
        .await
        .unwrap();
    assert_eq!(two.take(name).await.unwrap().unwrap(), &wild[..]);
    one.put("short", bytes("1"), Lifetime(1)).await.unwrap();
    until(async || two.get("short").await.unwrap().is_none().then_some(())).await;
}

async fn listing(one: &dyn Hints, two: &dyn Hints) {
    for key in [
        "t/!r:h/@a:h",
        "t/!r:h/@b/c:h",
        "t/!rr:h/@a:h",
        "t/!r:h/",
        "tt/!r:h/@a:h",
        "x",
    ] {
        one.put(key, bytes(key), LONG).await.unwrap();
    }
    one.put("t/!r:h/@gone:h", bytes(""), Lifetime(1))
        .await
        .unwrap();
    one.put("t/!r:h/@taken:h", bytes(""), LONG).await.unwrap();
    two.take("t/!r:h/@taken:h").await.unwrap();
    let list = async |prefix: &str| {
        let mut found = two.list(prefix).await.unwrap();
        found.sort();
        for (key, value) in &found {
            assert_eq!(key.as_bytes(), value);
        }
        found
            .into_iter()
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
            .join(" ")
    };
    until(async || {
        two.get("t/!r:h/@gone:h")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(list("t/!r:h/").await, "t/!r:h/ t/!r:h/@a:h t/!r:h/@b/c:h");
    assert_eq!(list("t/!r:h/@b/").await, "t/!r:h/@b/c:h");
    assert_eq!(list("t/!none/").await, "");
    // Those that have no set.
    assert_eq!(list("t/!rr").await, "t/!rr:h/@a:h");
    assert_eq!(list("x").await, "x");
    assert_eq!(list("").await.split(' ').count(), 6);
}

async fn counters(one: &Arc<dyn Hints>, two: &Arc<dyn Hints>) {
    assert_eq!(one.add("n", 2, LONG).await.unwrap(), 2);
    assert_eq!(two.add("n", -3, LONG).await.unwrap(), -1);
    let mut adding = JoinSet::new();
    for n in 0..20 {
        let hints = if n % 2 == 0 { one.clone() } else { two.clone() };
        adding.spawn(async move { hints.add("many", 1, LONG).await.unwrap() });
    }
    let mut sums = adding.join_all().await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=20).collect::<Vec<i64>>());
    // It lives on from its first use, not from its last.
    one.add("brief", 5, Lifetime(1)).await.unwrap();
    until(async || (one.add("brief", 1, LONG).await.unwrap() == 1).then_some(())).await;
}

async fn taken_once(one: &Arc<dyn Hints>, two: &Arc<dyn Hints>) {
    for key in ["token", "login/token/t"] {
        one.put(key, bytes("1"), LONG).await.unwrap();
        let mut taking = JoinSet::new();
        for n in 0..20 {
            let hints = if n % 2 == 0 { one.clone() } else { two.clone() };
            taking.spawn(async move { hints.take(key).await.unwrap().is_some() });
        }
        let taken = taking.join_all().await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
    }
}

async fn wake_ups(one: &dyn Hints, two: &dyn Hints) {
    let (mut here, mut there) = (one.subscribe(), two.subscribe());
    let topics: Arc<[Topic]> = [Topic::new('r', "!a:h"), Topic::new('u', "@é:h")].into();
    for n in 1..=5 {
        let topics = topics.clone();
        one.publish(Hint {
            topics,
            position: Position(n),
        });
        // At once on its own node.
        assert_eq!(here.try_recv().unwrap().position, Position(n));
    }
    for n in 1..=5 {
        let hint = there.recv().await.unwrap();
        assert_eq!((hint.position, &hint.topics), (Position(n), &topics));
    }
    // Its own hints come back to nobody.
    two.publish(Hint {
        topics: [].into(),
        position: Position::ZERO,
    });
    assert_eq!(here.recv().await.unwrap().position, Position::ZERO);
}

#[tokio::test]
async fn in_memory() {
    let now = Arc::new(AtomicU64::new(0));
    // Each look takes a millisecond.
    let hints = Arc::new(MemoryHints::new(move || now.fetch_add(1, Ordering::SeqCst)));
    suite(hints.clone(), hints).await;
}

/// Whether what one says is heard by the other.
async fn connected(one: &RedisHints, two: &RedisHints) {
    let mut hearing = two.subscribe();
    until(async || {
        one.publish(Hint {
            topics: [].into(),
            position: Position::ZERO,
        });
        let heard = tokio::time::timeout(Duration::from_millis(20), hearing.recv()).await;
        heard.ok().map(Result::unwrap)
    })
    .await;
    // Until the last of them has come, too.
    one.publish(Hint {
        topics: [].into(),
        position: Position::MAX,
    });
    while hearing.recv().await.unwrap().position != Position::MAX {}
}

#[tokio::test(flavor = "multi_thread")]
async fn over_redis() {
    let Some(server) = Server::start() else {
        return;
    };
    let (one, two) = (server.hints(), server.hints());
    connected(&one, &two).await;
    connected(&two, &one).await;
    heard_everywhere(&one, &two).await;
    suite(one, two).await;
}

/// Once it is told, the other node need not be waited for.
async fn heard_everywhere(one: &RedisHints, two: &RedisHints) {
    let mut there = two.subscribe();
    let moved = two.moved();
    let topic = moved.name('x', "$event");
    for n in 1..=20 {
        let before = moved.now();
        one.publish_everywhere(Hint {
            topics: [Topic::new('x', "$event")].into(),
            position: Position(n),
        })
        .await;
        assert_eq!(there.try_recv().unwrap().position, Position(n));
        assert!(!moved.is_still(before, &[topic]));
    }
}

/// Redis goes: each node goes on by itself. It comes back, empty: they meet again.
#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_and_comes_back() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (one, two) = (server.hints(), server.hints());
    connected(&one, &two).await;
    one.put("before", bytes("1"), LONG).await.unwrap();
    server.stop();
    one.put("s/a/1", bytes("kept here"), LONG).await.unwrap();
    one.put("once", bytes("1"), LONG).await.unwrap();
    assert_eq!(one.get("before").await.unwrap(), None);
    assert_eq!(two.get("once").await.unwrap(), None);
    assert_eq!(one.add("n", 1, LONG).await.unwrap(), 1);
    assert_eq!(one.add("n", 1, LONG).await.unwrap(), 2);
    assert_eq!(one.list("s/a/").await.unwrap().len(), 1);
    let mut own = one.subscribe();
    // Nobody can be asked, which holds nothing up.
    one.publish_everywhere(Hint {
        topics: [Topic::new('r', "!a")].into(),
        position: Position(1),
    })
    .await;
    assert_eq!(own.try_recv().unwrap().position, Position(1));
    server.run();
    connected(&one, &two).await;
    connected(&two, &one).await;
    // What was kept here is found here, and can be used up.
    assert_eq!(one.take("once").await.unwrap().unwrap(), "1");
    assert_eq!(one.get("s/a/1").await.unwrap().unwrap(), "kept here");
    // A new value is in Redis, and the one that was kept is forgotten.
    until(async || {
        one.put("s/a/1", bytes("new"), LONG).await.unwrap();
        two.get("s/a/1")
            .await
            .unwrap()
            .filter(|value| value == "new")
    })
    .await;
    assert_eq!(one.get("s/a/1").await.unwrap().unwrap(), "new");
    assert_eq!(one.list("s/a/").await.unwrap().len(), 1);
    assert_eq!(two.take("s/a/1").await.unwrap().unwrap(), "new");
    suite(one, two).await;
}

#[test]
fn hints_come_back_from_bytes() {
    let several = vec![Topic::new('é', "x\0"), Topic::new('u', "@a:h")];
    for topics in [vec![], vec![Topic::new('r', "")], several] {
        let hint = Hint {
            topics: topics.clone().into(),
            position: Position(7),
        };
        let found = Hint::from_bytes(&hint.to_bytes()).unwrap();
        assert_eq!((&*found.topics, found.position), (&*topics, Position(7)));
    }
    let hint = Hint {
        topics: [Topic::new('r', "!a:h")].into(),
        position: Position(1),
    };
    let whole = hint.to_bytes();
    for end in (0..whole.len()).filter(|end| *end != 8) {
        assert!(Hint::from_bytes(&whole[..end]).is_none());
    }
    assert!(Hint::from_bytes(&[0xFF; 40]).is_none());
}
