//! The database goes away: between commits, in the middle of one, for a while or with its connections alone.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_postgres::NoTls;

use super::{
    cluster::{self, Cluster},
    open_at,
};
use crate::{
    CommitError, Direction, Engine as _, MemoryHints, Position, Store,
    suite::{COUNTERS, LOG, batch},
};

fn store(engine: Arc<super::PostgresEngine>) -> Store {
    Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
}

/// Everything in the log, which must have no gap.
async fn entries(store: &Store) -> Vec<String> {
    let view = store.view().await.unwrap();
    let mut found: Vec<String> = Vec::new();
    loop {
        let at = Position(u64::try_from(found.len()).unwrap());
        let page = view
            .scan(
                &LOG,
                at.next()..Position::MAX,
                Direction::Forward,
                usize::MAX,
            )
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        for (position, entry) in page {
            found.push(entry);
            assert_eq!(position.0, u64::try_from(found.len()).unwrap());
        }
    }
    assert_eq!(view.position().0, u64::try_from(found.len()).unwrap());
    let count = view.get(&COUNTERS, "entries").await.unwrap().unwrap_or(0);
    assert_eq!(u64::try_from(count).unwrap(), view.position().0);
    found
}

/// Writes numbered entries until `done`; those that were acknowledged. Each is planned as the only one of its name.
async fn write(store: Store, writer: usize, done: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0u64.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{writer} {number}");
        let write = batch(|b| {
            b.assert_absent(&COUNTERS, name.as_str());
            b.put(&COUNTERS, name.as_str(), 1i64);
            b.add(&COUNTERS, "entries", 1);
            b.append(&LOG, name.as_str());
        });
        match store.commit(write).await {
            Ok(_) => acknowledged.push(name),
            // Nobody else writes this name: it was said to be there because this very batch had been written.
            Err(CommitError::Conflict) => panic!("{name}: a conflict with itself"),
            // May be written or not.
            Err(CommitError::Failed(_)) => {}
        }
    }
    acknowledged
}

/// Each acknowledged entry is there once, and no entry twice.
async fn check(store: &Store, acknowledged: &[String]) {
    let found = entries(store).await;
    let distinct: BTreeSet<&String> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "an entry was written twice");
    for name in acknowledged {
        assert!(
            distinct.contains(name),
            "{name} was acknowledged and is lost"
        );
    }
}

/// The server is killed while many write, and started again, several times.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing() {
    // Of its own: the others are not to notice.
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let cluster = Arc::new(cluster);
    let url = cluster.database().await;
    let (one, two) = (open_at(&url).await, open_at(&url).await);
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let engine = if writer % 2 == 0 { &one } else { &two };
        writers.spawn(write(store(engine.clone()), writer, done.clone()));
    }
    for _ in 0..3 {
        let before = one.counts().commits;
        while one.counts().commits < before + 100 {
            tokio::task::yield_now().await;
        }
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || {
            cluster.kill();
            cluster.run();
        })
        .await
        .unwrap();
    }
    let before = (one.counts().commits, two.counts().commits);
    while one.counts().commits < before.0 + 100 || two.counts().commits < before.1 + 100 {
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::SeqCst);
    let acknowledged = writers.join_all().await.concat();
    assert!(acknowledged.len() > 600);
    check(&store(open_at(&url).await), &acknowledged).await;
    one.close().await.unwrap();
    two.close().await.unwrap();
}

/// Passes connections on to the database, and cuts them where a test wants it.
struct Proxy {
    folder: tempfile::TempDir,
    to: PathBuf,
    cut: Mutex<Cut>,
    cuts: AtomicU64,
}

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nowhere,
    /// When a commit was sent, before the database gets it.
    BeforeCommit,
    /// When the database got the commit, before its answer is passed on.
    AfterCommit,
}

impl Proxy {
    /// A proxy before the database at `url`, and the address at which it is reached.
    fn start(url: &str) -> (Arc<Self>, String) {
        let (_, rest) = url.split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let proxy = Arc::new(Self {
            folder: tempfile::tempdir().unwrap(),
            to: PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432"),
            cut: Mutex::new(Cut::Nowhere),
            cuts: AtomicU64::new(0),
        });
        let listener = UnixListener::bind(proxy.folder.path().join(".s.PGSQL.5432")).unwrap();
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = serving.clone();
                tokio::spawn(async move { proxy.pass(client).await });
            }
        });
        let host = proxy.folder.path().to_str().unwrap().replace('/', "%2F");
        (proxy, format!("postgres://hearth@{host}/{name}"))
    }

    fn cut_at(&self, cut: Cut) {
        *self.cut.lock().unwrap() = cut;
    }

    /// Passes bytes both ways until either side ends, or the connection is cut.
    async fn pass(&self, mut client: UnixStream) -> io::Result<()> {
        let mut server = UnixStream::connect(&self.to).await?;
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let bytes = &up[..read?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    let commits = bytes.windows(6).any(|word| word == b"COMMIT");
                    let cut = match commits {
                        true => std::mem::replace(&mut *self.cut.lock().unwrap(), Cut::Nowhere),
                        false => Cut::Nowhere,
                    };
                    if cut != Cut::Nowhere {
                        self.cuts.fetch_add(1, Ordering::SeqCst);
                    }
                    match cut {
                        Cut::Nowhere => server.write_all(bytes).await?,
                        Cut::BeforeCommit => return Ok(()),
                        Cut::AfterCommit => {
                            server.write_all(bytes).await?;
                            // Any answer says that it was carried out: they come in one piece, at the end.
                            server.readable().await?;
                            return Ok(());
                        }
                    }
                }
                read = server.read(&mut down) => {
                    let bytes = &down[..read?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    client.write_all(bytes).await?;
                }
            }
        }
    }
}

/// A connection that is lost around a commit: it is found out whether the group was written, and the batch is
/// acknowledged once, without a conflict with itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_is_found_out_about() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (proxy, behind) = Proxy::start(&url);
    let engine = open_at(&behind).await;
    let writer = store(engine.clone());
    let mut acknowledged = Vec::new();
    for number in 0..20u64 {
        let cut = match number % 4 {
            1 => Cut::BeforeCommit,
            3 => Cut::AfterCommit,
            _ => Cut::Nowhere,
        };
        proxy.cut_at(cut);
        let name = format!("{number}");
        let write = batch(|b| {
            b.assert_absent(&COUNTERS, name.as_str());
            b.put(&COUNTERS, name.as_str(), 1i64);
            b.add(&COUNTERS, "entries", 1);
            b.append(&LOG, name.as_str());
        });
        let committed = writer.commit(write).await.unwrap();
        assert_eq!(committed.first.0, number + 1);
        acknowledged.push(name);
        if number % 5 == 0 {
            // A range is found out about as well.
            proxy.cut_at(Cut::AfterCommit);
            writer.delete_prefix(&LOG, Position::MAX).await.unwrap();
        }
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 14);
    let direct = open_at(&url).await;
    assert_eq!(entries(&store(direct.clone())).await, acknowledged);
    engine.close().await.unwrap();
    direct.close().await.unwrap();
}

/// Connections that the server ends are made anew, while many write and read.
#[tokio::test(flavor = "multi_thread")]
async fn ended_connections_are_made_anew() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let engine = open_at(&url).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        writers.spawn(write(store(engine.clone()), writer, done.clone()));
    }
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let carrier = tokio::spawn(connection);
    for _ in 0..10 {
        let before = engine.counts().commits;
        while engine.counts().commits < before + 20 {
            // Reads go on as well.
            engine.view().await.unwrap();
        }
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        client.batch_execute(end).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let acknowledged = writers.join_all().await.concat();
    carrier.abort();
    check(&store(engine.clone()), &acknowledged).await;
    engine.close().await.unwrap();
}

/// Two processes' worth of engines over one store: one order, each sees what the other acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_have_one_order() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    // At the same moment, over a database without tables.
    let (one, two) = tokio::join!(open_at(&url), open_at(&url));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (own, other) = match writer % 2 {
            0 => (store(one.clone()), store(two.clone())),
            _ => (store(two.clone()), store(one.clone())),
        };
        writers.spawn(async move {
            for number in 0..25 {
                let name = format!("{writer} {number}");
                let write = batch(|b| {
                    b.add(&COUNTERS, "entries", 1);
                    b.append(&LOG, name.as_str());
                });
                let at = own.commit(write).await.unwrap().first;
                let view = other.view().await.unwrap();
                assert!(view.position() >= at);
                assert_eq!(view.get(&LOG, at).await.unwrap().unwrap(), name);
            }
        });
    }
    writers.join_all().await;
    let (left, right) = (store(one.clone()), store(two.clone()));
    assert_eq!(entries(&left).await, entries(&right).await);
    assert_eq!(entries(&left).await.len(), 200);
    one.close().await.unwrap();
    two.close().await.unwrap();
}
